//! `#[derive(Module)]`, see `Module` of the crate `wengert`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, Ident, Member, Path, Result, parse_macro_input};

/// Writes `Module` for a struct or an enum: every field is a part of the model, under the field's name. The fields of
/// tuples go by number. A type parameter of a field must be a `Module` itself.
///
/// - `#[module(skip)]` on a field leaves it out: its type needs to be `Send + Sync`, nothing else.
/// - `#[module(crate = path)]` on the type says where `Module` lives, for crates that depend on `wengert-nn` alone
///   (`path` is `wengert_nn` there). It is `::wengert` unless said otherwise.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(mut input: DeriveInput) -> Result<TokenStream> {
    let krate = crate_path(&input.attrs)?;
    // What the fields that take part mention: those type parameters must be modules.
    let mut parts = TokenStream::new();
    let body = match &input.data {
        Data::Struct(data) => {
            let fields = parts_of(&data.fields)?;
            let calls = fields.iter().map(|(member, field)| {
                parts.extend(field_type(field));
                child(member, field, quote_spanned!(field.ty.span()=> &self.#member))
            });
            quote!(#(#calls)*)
        }
        Data::Enum(data) => {
            let arms = data
                .variants
                .iter()
                .map(|variant| {
                    let name = &variant.ident;
                    let fields = parts_of(&variant.fields)?;
                    let bindings: Vec<Ident> = (0..fields.len()).map(|i| format_ident!("field_{i}")).collect();
                    let members = fields.iter().map(|(member, _)| member);
                    let calls = fields.iter().zip(&bindings).map(|((member, field), binding)| {
                        parts.extend(field_type(field));
                        child(member, field, quote!(#binding))
                    });
                    Ok(quote!(Self::#name { #(#members: #bindings,)* .. } => { #(#calls)* }))
                })
                .collect::<Result<Vec<_>>>()?;
            // A reference to an enum without variants still needs an arm.
            if arms.is_empty() { quote!(match *self {}) } else { quote!(match self { #(#arms)* }) }
        }
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span,
                "a union cannot be a module: which field is alive is unknown",
            ));
        }
    };
    for param in input.generics.type_params_mut() {
        param.bounds.push(syn::parse_quote!(::core::marker::Send));
        param.bounds.push(syn::parse_quote!(::core::marker::Sync));
        if mentions(&parts, &param.ident) {
            param.bounds.push(syn::parse_quote!(#krate::Module));
        }
    }
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics #krate::Module for #name #arguments #bounds {
            fn visit(&self, walk: &mut #krate::Walk<'_>) {
                let _ = &walk;
                #body
            }
        }
    })
}

/// Visits one field. The span is the field's, so that a type that is no module is underlined there.
fn child(member: &Member, field: &Field, value: TokenStream) -> TokenStream {
    let name = match member {
        Member::Named(ident) => ident.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    };
    quote_spanned!(field.ty.span()=> walk.child(#name, #value);)
}

/// The fields that are not skipped.
fn parts_of(fields: &Fields) -> Result<Vec<(Member, &Field)>> {
    let mut parts = Vec::new();
    for (member, field) in fields.members().zip(fields) {
        if !is_skipped(&field.attrs)? {
            parts.push((member, field));
        }
    }
    Ok(parts)
}

fn field_type(field: &Field) -> TokenStream {
    let ty = &field.ty;
    quote!(#ty)
}

fn mentions(tokens: &TokenStream, name: &Ident) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        proc_macro2::TokenTree::Ident(ident) => ident == *name,
        proc_macro2::TokenTree::Group(group) => mentions(&group.stream(), name),
        _ => false,
    })
}

fn is_skipped(attrs: &[Attribute]) -> Result<bool> {
    let mut skip = false;
    for attr in attrs.iter().filter(|a| a.path().is_ident("module")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("skip") {
                skip = true;
                return Ok(());
            }
            Err(meta.error("a field of a module knows `#[module(skip)]` only"))
        })?;
    }
    Ok(skip)
}

fn crate_path(attrs: &[Attribute]) -> Result<Path> {
    let mut path: Path = syn::parse_str("::wengert").map_err(|e| Error::new(Span::call_site(), e))?;
    for attr in attrs.iter().filter(|a| a.path().is_ident("module")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("crate") {
                path = meta.value()?.parse()?;
                return Ok(());
            }
            Err(meta.error("a module knows `#[module(crate = path)]` only; `#[module(skip)]` goes on a field"))
        })?;
    }
    Ok(path)
}

//! Declares the written form: its tables, how they are read, and how they are written.

/// Declares tables of the written form: each a struct of optional keys, the list of its keys, and how it is read.
macro_rules! tables {
    ($(
        $(#[$doc:meta])*
        pub(crate) struct $table:ident {
            $( $(#[$key_doc:meta])* $key:ident: $kind:ty, )*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub(crate) struct $table {
            $( $(#[$key_doc])* pub(crate) $key: $crate::reader::Key<$kind>, )*
        }

        impl $table {
            /// Every key of this table, in the order of its declaration.
            pub(crate) const KEYS: &'static [&'static str] = &[$( $crate::reader::plain(stringify!($key)) ),*];
        }

        impl $crate::reader::Read for $table {
            const WANTED: &'static str = "a table";

            fn read(
                value: &$crate::node::Value,
                at: &$crate::problem::Place,
                report: &mut $crate::problem::Report,
            ) -> Option<Self> {
                let table = $crate::reader::Table::open(value, at, Self::KEYS, report)?;
                Some(Self { $( $key: table.key($crate::reader::plain(stringify!($key)), report), )* })
            }
        }
    )*};
}

/// As [`tables`], for tables that are also written.
macro_rules! written_tables {
    ($(
        $(#[$doc:meta])*
        pub(crate) struct $table:ident {
            $( $(#[$key_doc:meta])* $key:ident: $kind:ty, )*
        }
    )*) => {
        $crate::tables::tables! {$(
            $(#[$doc])*
            pub(crate) struct $table {
                $( $(#[$key_doc])* $key: $kind, )*
            }
        )*}

        $(impl $crate::values::Write for $table {
            fn value(&self) -> toml::Value {
                let mut table = toml::Table::new();
                $( if let Some(value) = $crate::values::of_key(&self.$key) {
                    table.insert($crate::reader::plain(stringify!($key)).to_owned(), value);
                } )*
                toml::Value::Table(table)
            }
        })*
    };
}

/// Lets closed sets of words stand as the type of a key.
macro_rules! words {
    ($($word:ty),* $(,)?) => {$(
        impl $crate::reader::Word for $word {
            const ALL: &'static [Self] = &Self::ALL;

            fn written(self) -> &'static str {
                self.as_str()
            }
        }

        impl $crate::reader::Read for $word {
            const WANTED: &'static str = "one of a few words";

            fn read(
                value: &$crate::node::Value,
                at: &$crate::problem::Place,
                report: &mut $crate::problem::Report,
            ) -> Option<Self> {
                $crate::reader::read_word(value, at, report)
            }
        }

        impl $crate::values::Write for $word {
            fn value(&self) -> toml::Value {
                $crate::values::word(*self)
            }
        }
    )*};
}

pub(crate) use {tables, words, written_tables};

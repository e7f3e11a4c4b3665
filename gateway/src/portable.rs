//! The written forms of values that one process hands to another, where serde has none of its own: moments, roles.

/// A moment as microseconds since 1970.
pub mod unix_micros {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        let micros = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX).serialize(to)
    }

    /// # Errors
    /// The value is no number, or one beyond all calendars.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let micros = u64::deserialize(from)?;
        let at = UNIX_EPOCH.checked_add(Duration::from_micros(micros));
        at.ok_or_else(|| serde::de::Error::custom(format!("{micros} is no moment")))
    }
}

/// A role by its word.
pub mod role_word {
    use config::Role;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(role: &Role, to: S) -> Result<S::Ok, S::Error> {
        role.as_str().serialize(to)
    }

    /// # Errors
    /// The word is no role's.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
        let word = String::deserialize(from)?;
        let found = Role::ALL.into_iter().find(|role| role.as_str() == word);
        found.ok_or_else(|| serde::de::Error::custom(format!("{word:?} is no role")))
    }
}

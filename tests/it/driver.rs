//! The same promises on epoll, and the ladder down to it.

// Package receiver takes word from outside that sessions are over: Security
// Event Tokens pushed (RFC 8935) or polled (RFC 8936), back-channel logout
// (OpenID Connect Back-Channel Logout 1.0) and Global Token Revocation (Okta
// Universal Logout). It says what each means as Effects, and answers its sender
// only after the Sink has stored them.
//
// # From token to effect
//
// set.go verifies a SET (RFC 8417), subject.go reads whom it names (RFC 9493,
// SSF 1.0), caep.go and risc.go what is to become of them. These are pure: a
// token, a time and a Config give Effects or a Refusal. A SET and a logout
// token are never told apart by their content. The endpoint chooses the
// validator, and each refuses what the other accepts: a SET has no exp, a logout
// token has one.
//
// # What it may not do
//
// A transmitter speaks for the issuers of its Config only; any other one that it
// names makes the whole token access_denied. What names more than it says is
// never made from what is not understood: where a part of a subject is unknown
// here, the rest is used only if it still names a user, a session, a token or a
// device (see subject.go). All that is not used is an Effect too, with
// its reason, so that the Sink can count and show it.
//
// # Sent once
//
// Most senders of a logout send it once and wait a second or two, and what was
// refused is not sent again by any. So a token whose key is not known waits for it
// (logoutonce.go; a polled SET stays with its transmitter meanwhile), and the Sink
// goes on where the sender has hung up.
//
// # Twice
//
// A token is known by (issuer, jti). The same content again is answered as the
// first time and stored once; other content is refused. Each receiver remembers
// 65 536 of them, for at least twelve hours unless there are more. That spares
// work and no more: replicas do not share it and a restart forgets it. What
// makes a repeat harmless is Source.Request and Source.Content, which the feed
// keeps for its own idempotence; a Sink that finds another content there says
// ErrOtherContent. And a repeat that gets past both repeats what is in force.
package receiver

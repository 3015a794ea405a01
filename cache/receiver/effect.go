package receiver

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

// Sink takes what one token means, all of it or nothing, and returns nil only
// when it is durable. It also gets what changes nothing (Ignored, Verified,
// StreamUpdated), to count and show it. It may be called from many goroutines.
type Sink func(ctx context.Context, effects ...Effect) error

// What a Sink may find wrong; its sender is told so, and need not try again.
var (
	// ErrOtherContent: the feed has another token of this issuer and jti.
	ErrOtherContent = errors.New("jti was used before, with other content")
	// ErrState: a verification event has a state that was not asked for
	// (SSF 1.0, 8.1.4.2).
	ErrState = errors.New("verification state was not asked for")
)

// Op is what an effect does.
type Op uint8

// The operations. The zero Op is none.
const (
	Revoke        Op = iota + 1 // deny the sessions that match
	Lift                        // end what was revoked UntilLifted for the same Cause and members
	Signal                      // set the Level of Cause: denies while Deny
	Verified                    // the stream works; Level is the state that came back
	StreamUpdated               // the stream's status is now Level
	Ignored                     // nothing, as Why says
)

func (o Op) String() string {
	return [...]string{"none", "revoke", "lift", "signal", "verified", "stream_updated", "ignored"}[o]
}

// Cause is what a denial is for. What one cause withdraws, another does not
// give back: an enabled account has its old risk.
type Cause uint8

// The causes.
const (
	Ended      Cause = iota // sessions were ended; a new login is another session
	Disabled                // account disabled or purged, until it is enabled
	Risk                    // risk level HIGH, until it is lower: signal_denied
	Compliance              // device not compliant, until it is: device_noncompliant
)

func (c Cause) String() string {
	return [...]string{"ended", "disabled", "risk", "compliance"}[c]
}

// Effect is one thing that a token asks for. Of a token that names several
// subjects (aliases), each is an effect of its own.
type Effect struct {
	Op    Op
	Cause Cause

	// Issuer and Members are whom it is about: all must match. They are in the
	// order of their kinds, none twice, as cache.Event wants them. A session
	// that lacks a member is matched too (contract §4).
	Issuer  string
	Members []cache.Member
	// Unrecorded are the parts of the subject that no session here has a value
	// for, such as a group. They were left out.
	Unrecorded []string

	At          time.Time // when it happened; of two about one Cause and members, the later one counts
	Moved       string    // why At is not what the token says; "" where it is
	UntilLifted bool      // Revoke: also sessions that begin later, until a Lift; else those that began at or before At
	Level       string    // Signal, Verified, StreamUpdated
	Deny        bool      // Signal
	Stream      string    // Verified, StreamUpdated: id of the stream; "" where the event has none

	Why    string // Ignored: the reason
	Source Source
}

// denies and lets tell which way an effect goes; what changes nothing, neither.
func (e Effect) denies() bool { return e.Op == Revoke || e.Op == Signal && e.Deny }
func (e Effect) lets() bool   { return e.Op == Lift || e.Op == Signal && !e.Deny }

// Source says where an effect is from.
type Source struct {
	Receiver string // set, logout or global_token_revocation
	Issuer   string // the transmitter
	JTI, TXN string
	Type     string // of the event, without the text that all of its kind begin with
	Reason   string // what the transmitter says to administrators; at most cache.MaxReasonBytes

	Request cache.Key // digest of Receiver, Issuer and JTI: cache.Event.Request
	Content cache.Key // digest of the claims: cache.Event.Content
}

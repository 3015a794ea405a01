package cache

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Op is what an event does to the index.
type Op uint8

// The operations. A follower that meets another one stops and says so: an
// operation of a newer version may not be skipped.
const (
	OpRevoke Op = 1 // withdraw what Kinds and Key name
	OpLift   Op = 2 // end the revocation named by Lifts
)

// Ref names one revocation for ever: the number of the feed record that holds
// it and its place in that record. The zero Ref names nothing.
type Ref struct {
	Number uint64
	Place  uint32
}

// String is the revocation's id in the API.
func (r Ref) String() string {
	return "r" + strconv.FormatUint(r.Number, 10) + "-" + strconv.FormatUint(uint64(r.Place), 10)
}

// ParseRef reads an id as String writes it, and nothing else.
func ParseRef(id string) (Ref, error) {
	number, place, ok := strings.Cut(strings.TrimPrefix(id, "r"), "-")
	n, errN := strconv.ParseUint(number, 10, 64)
	p, errP := strconv.ParseUint(place, 10, 32)
	ref := Ref{Number: n, Place: uint32(p)}
	if !ok || errN != nil || errP != nil || n == 0 || ref.String() != id {
		return Ref{}, fmt.Errorf("%q is not a revocation id such as r12-0", id)
	}
	return ref, nil
}

// Event is one change of the revocation index, as the feed carries it.
// The index keeps the fields up to Lifts; the rest is for people and stays in
// the feed, from where it is read by the event's Ref.
type Event struct {
	Op     Op
	Kinds  Kinds     // one kind, or those of Members
	Key    Key       // KeyOf(Kinds, Issuer, Value), or KeyOfAll(Issuer, Members)
	Before time.Time // dated kinds: sessions that began at or before it; whole seconds
	Until  time.Time // the revocation may be forgotten after it; whole seconds
	Lifts  Ref       // OpLift only

	Issuer, Value string
	Members       []Member // instead of Value: all must match (contract §4)
	Reason        string   // free text of who withdrew it
	Actor         string   // who asked: "admin", a receiver's issuer
	Request       Key      // digest of the Idempotency-Key, zero where none was given
	Content       Key      // digest of the request's body, to notice a key used twice
}

// Member is one part of a complex subject (SSF 1.0, 3.2): this user, on this
// device. All live at the event's issuer.
type Member struct {
	Kind  Kinds // one
	Value string
}

// Limits of an event: its text in bytes, and how many members it names.
const (
	MaxValueBytes  = 4096
	MaxReasonBytes = 1024
	MaxMembers     = 5
)

// Validate says what is wrong with an event before it is appended or applied.
func (e *Event) Validate() error {
	switch {
	case e.Op != OpRevoke && e.Op != OpLift:
		return fmt.Errorf("unknown operation %d", e.Op)
	case len(e.Issuer) > MaxValueBytes || len(e.Reason) > MaxReasonBytes || len(e.Actor) > MaxReasonBytes:
		return errors.New("issuer, reason or actor is too long")
	case e.Op == OpRevoke && (e.Until.IsZero() || e.Before.IsZero()):
		return errors.New("a revocation needs its not_before and its end")
	case e.Op == OpRevoke && e.Lifts != Ref{}:
		return errors.New("a revocation lifts nothing")
	case e.Op == OpLift && e.Lifts == Ref{}:
		return errors.New("a lift names no revocation")
	}
	if len(e.Members) > 0 {
		return e.validateMembers()
	}
	switch {
	case !e.Kinds.single():
		return fmt.Errorf("event names kinds %#x, not exactly one", uint16(e.Kinds))
	case e.Value == "" || len(e.Value) > MaxValueBytes:
		return fmt.Errorf("value has %d bytes, not 1 to %d", len(e.Value), MaxValueBytes)
	case e.Key != KeyOf(e.Kinds, e.Issuer, e.Value):
		return errors.New("key is not the digest of kind, issuer and value")
	}
	return nil
}

// validateMembers holds a complex subject to one form: two members or more, in
// the order of the kinds, none twice.
func (e *Event) validateMembers() error {
	if len(e.Members) < 2 || len(e.Members) > MaxMembers || e.Value != "" {
		return fmt.Errorf("event names %d members, not 2 to %d, or a value besides", len(e.Members), MaxMembers)
	}
	var kinds Kinds
	for _, m := range e.Members {
		if !m.Kind.single() || m.Kind <= kinds || m.Value == "" || len(m.Value) > MaxValueBytes {
			return fmt.Errorf("member %v is out of order, twice, empty or too long", m.Kind)
		}
		kinds |= m.Kind
	}
	if e.Kinds != kinds || e.Key != KeyOfAll(e.Issuer, e.Members) {
		return errors.New("kinds and key are not those of the members")
	}
	return nil
}

package cache

import (
	"sync"
	"sync/atomic"
	"time"
)

const shards = 64

// Index is the set of revocations in force: exact, never evicting, the same
// on every replica that has applied the same records. One goroutine applies
// and expires (the feed's follower), any number ask.
type Index struct {
	applied atomic.Uint64
	count   [numKinds]atomic.Int64 // in force, by kind; zero spares the lookup
	shard   [shards]struct {
		sync.RWMutex
		live map[Key][]entry
	}
	lifts struct {
		sync.RWMutex
		at map[Ref]Lift
	}
}

// entry is one revocation. A key may have several, each lifted for itself.
type entry struct {
	ref           Ref
	kind          Kinds
	before, until int64 // Unix seconds
}

// Lift is the end of a revocation before its time.
type Lift struct {
	By    Ref       // the event that ended it
	At    time.Time // when that was appended
	until int64     // when it may be forgotten: with the revocation itself
}

// Hit is the revocation that a request ran into; its zero value is none.
type Hit struct {
	Kind  Kinds
	Ref   Ref
	Until int64 // its end in Unix seconds
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	x := &Index{}
	for i := range x.shard {
		x.shard[i].live = make(map[Key][]entry)
	}
	x.lifts.at = make(map[Ref]Lift)
	return x
}

// Apply takes one record's events in the order of the feed. A record that was
// applied before changes nothing. at is when the record was appended.
func (x *Index) Apply(number uint64, at time.Time, events []Event) {
	if number <= x.applied.Load() {
		return
	}
	for i := range events {
		switch e := &events[i]; e.Op {
		case OpRevoke:
			x.revoke(e, Ref{Number: number, Place: uint32(i)})
		case OpLift:
			x.lift(e, Ref{Number: number, Place: uint32(i)}, at)
		}
	}
	x.applied.Store(number)
}

// Applied is the number of the last record applied.
func (x *Index) Applied() uint64 { return x.applied.Load() }

func (x *Index) revoke(e *Event, ref Ref) {
	// Both times round towards denial: a fraction counts as the whole second.
	add := entry{ref: ref, kind: e.Kinds, before: ceil(e.Before), until: ceil(e.Until)}
	s := &x.shard[e.Key[0]%shards]
	s.Lock()
	s.live[e.Key] = append(s.live[e.Key], add)
	s.Unlock()
	x.count[e.Kinds.slot()].Add(1)
}

func (x *Index) lift(e *Event, by Ref, at time.Time) {
	s := &x.shard[e.Key[0]%shards]
	s.Lock()
	defer s.Unlock()
	for _, old := range s.live[e.Key] {
		if old.ref != e.Lifts {
			continue
		}
		x.drop(s.live, e.Key, func(o *entry) bool { return o.ref == e.Lifts })
		x.lifts.Lock()
		x.lifts.at[e.Lifts] = Lift{By: by, At: at, until: old.until}
		x.lifts.Unlock()
		return
	}
}

// drop removes a key's entries that gone picks; the caller holds the lock.
func (x *Index) drop(live map[Key][]entry, key Key, gone func(*entry) bool) (dropped int) {
	old := live[key]
	// A new slice: a reader may still hold the old one.
	var keep []entry
	for i := range old {
		if !gone(&old[i]) {
			keep = append(keep, old[i])
			continue
		}
		x.count[old[i].kind.slot()].Add(-1)
		dropped++
	}
	switch {
	case dropped == 0:
	case len(keep) == 0:
		delete(live, key)
	default:
		live[key] = keep
	}
	return dropped
}

// Status looks for a revocation that is in force at now and hits a session
// which began at began: its auth_time, else the iat of its token. The first
// kind in the contract's order is given. It allocates nothing.
func (x *Index) Status(s *Subject, began, now time.Time) Hit {
	for slot := range numKinds {
		if s[slot] == (Key{}) || x.count[slot].Load() == 0 {
			continue
		}
		if hit := x.find(Kinds(1)<<slot, &s[slot], began.Unix(), now.Unix()); hit != (Hit{}) {
			return hit
		}
	}
	return Hit{}
}

func (x *Index) find(kind Kinds, key *Key, began, now int64) Hit {
	s := &x.shard[key[0]%shards]
	s.RLock()
	entries := s.live[*key]
	s.RUnlock()
	for i := range entries {
		if now <= entries[i].until && (!kind.Dated() || began <= entries[i].before) {
			return Hit{Kind: kind, Ref: entries[i].ref, Until: entries[i].until}
		}
	}
	return Hit{}
}

// Has tells whether a revocation is still in force.
func (x *Index) Has(key Key, ref Ref) bool {
	s := &x.shard[key[0]%shards]
	s.RLock()
	defer s.RUnlock()
	for i := range s.live[key] {
		if s.live[key][i].ref == ref {
			return true
		}
	}
	return false
}

// Refs lists the revocations in force for one key, oldest first.
func (x *Index) Refs(key Key) []Ref {
	s := &x.shard[key[0]%shards]
	s.RLock()
	defer s.RUnlock()
	var refs []Ref
	for i := range s.live[key] {
		refs = append(refs, s.live[key][i].ref)
	}
	return refs
}

// Lifted tells how a revocation ended, if it was lifted.
func (x *Index) Lifted(ref Ref) (Lift, bool) {
	x.lifts.RLock()
	defer x.lifts.RUnlock()
	l, ok := x.lifts.at[ref]
	return l, ok
}

// Expire forgets what ended before now and says how much that was. Status has
// ignored it since; this gives back its memory. now must come from a clock that
// no jump forward moves: what is forgotten can not be asked for again.
func (x *Index) Expire(now time.Time) (expired int) {
	second := now.Unix()
	for i := range x.shard {
		s := &x.shard[i]
		s.Lock()
		for key, entries := range s.live {
			for j := range entries {
				if entries[j].until < second {
					expired += x.drop(s.live, key, func(e *entry) bool { return e.until < second })
					break
				}
			}
		}
		s.Unlock()
	}
	x.lifts.Lock()
	for ref, l := range x.lifts.at {
		if l.until < second {
			delete(x.lifts.at, ref)
		}
	}
	x.lifts.Unlock()
	return expired
}

// Count is the number of revocations in force of one kind.
func (x *Index) Count(kind Kinds) int64 { return x.count[kind.slot()].Load() }

func ceil(t time.Time) int64 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return s
}

package cache

import (
	"crypto/rand"
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Index is the set of revocations in force: never evicting, the same on every
// replica that has applied the same records. One goroutine applies (the feed's
// follower), one may expire, any number ask.
type Index struct {
	applied atomic.Uint64
	count   [numKinds]atomic.Int64 // in force, by kind; zero spares the lookup
	key     sipKey
	pages   *pages
	shard   [tableShards]shard
	several several
	lifts   lifts

	// write is held while a record is applied: an image begins between two.
	write sync.Mutex
	image *Image // that is being written, else nil
}

// Hit is the revocation that a request ran into; its zero value is none.
type Hit struct {
	Kind  Kinds
	Ref   Ref
	Until int64 // its end in Unix seconds
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	var secret [16]byte
	rand.Read(secret[:]) // never fails
	return newIndex(sipKey{binary.LittleEndian.Uint64(secret[:8]), binary.LittleEndian.Uint64(secret[8:])})
}

func newIndex(key sipKey) *Index {
	return &Index{key: key, pages: newPages()}
}

// Apply takes one record's events in the order of the feed. A record that was
// applied before changes nothing. at is when the record was appended.
func (x *Index) Apply(number uint64, at time.Time, events []Event) {
	x.write.Lock()
	defer x.write.Unlock()
	if number <= x.applied.Load() {
		return
	}
	for i := range events {
		ref := Ref{Number: number, Place: uint32(i)}
		switch e := &events[i]; e.Op {
		case OpRevoke:
			x.revoke(e, ref)
		case OpLift:
			x.lift(e, ref, at)
		}
	}
	x.applied.Store(number)
}

// Applied is the number of the last record applied.
func (x *Index) Applied() uint64 { return x.applied.Load() }

func (x *Index) revoke(e *Event, ref Ref) {
	add := entry{ref: ref, kind: uint8(e.Kinds.slot()), before: never, until: clamp(e.Until)}
	if e.Kinds.Dated() { // else a session is never too young
		add.before = clamp(e.Before)
	}
	x.count[add.kind].Add(1)
	if !e.Kinds.single() {
		x.several.insert(newRow(e, add))
		return
	}
	i, g := x.place(&e.Key)
	s := &x.shard[i]
	s.mu.Lock()
	s.insert(x.pages, g, add)
	s.mu.Unlock()
}

func (x *Index) lift(e *Event, by Ref, at time.Time) {
	var old entry
	var ok bool
	if e.Kinds.single() {
		i, g := x.place(&e.Key)
		s := &x.shard[i]
		s.mu.Lock()
		if old, ok = s.remove(g, e.Lifts); ok {
			x.image.keep(i, g, old)
		}
		s.mu.Unlock()
	} else if r := x.several.remove(e.Key, e.Lifts); r != nil {
		old, ok = r.entry, true
		x.image.keepRow(r)
	}
	if ok {
		x.count[old.kind].Add(-1)
		x.lifts.add(e.Lifts, Lift{By: by, At: at, until: old.until})
	}
}

// place is where a key's entries are: in which shard, under which tag.
func (x *Index) place(key *Key) (int, tag) {
	hash := x.key.sum(key)
	return int(hash % tableShards), tag{hash&^(tableShards-1) | uint64(key[15]), key[14] & tailMask}
}

// Status looks for a revocation that is in force at now and hits a session
// which began at began: its auth_time, else the iat of its token. The first
// kind in the contract's order is given, and of it the first in the order of
// the feed. It allocates nothing.
func (x *Index) Status(s *Subject, began, now time.Time) Hit {
	from, at := began.Unix(), now.Unix()
	for slot := range numKinds {
		if s[slot] == (Key{}) {
			continue
		}
		var found entry
		if x.count[slot].Load() != 0 {
			i, g := x.place(&s[slot])
			found = x.shard[i].find(g, uint8(slot), from, at)
		}
		found = first(found, x.several.find(s, slot, from, at))
		if found.ref != (Ref{}) {
			return Hit{Kind: 1 << slot, Ref: found.ref, Until: found.end()}
		}
	}
	return Hit{}
}

// Has tells whether a revocation is still in force.
func (x *Index) Has(key Key, ref Ref) bool { return slices.Contains(x.Refs(key), ref) }

// Refs lists the revocations in force for one key, oldest first.
func (x *Index) Refs(key Key) (refs []Ref) {
	i, g := x.place(&key)
	s := &x.shard[i]
	s.mu.Lock()
	s.each(g, func(e entry) { refs = append(refs, e.ref) })
	s.mu.Unlock()
	refs = append(refs, x.several.refs(key)...)
	slices.SortFunc(refs, Ref.Compare)
	return refs
}

// Lifted tells how a revocation ended, if it was lifted.
func (x *Index) Lifted(ref Ref) (Lift, bool) { return x.lifts.get(ref) }

// Expire forgets what ended before now and says how much that was. Status has
// ignored it since; this gives back its memory. now must come from a clock that
// no jump forward moves: what is forgotten can not be asked for again. It goes
// through the index in slices, each of some ten microseconds at 10 million
// entries, in which records wait to be applied; readers never wait.
func (x *Index) Expire(now time.Time) (expired int) {
	second := now.Unix()
	gone := func(e entry) {
		x.count[e.kind].Add(-1)
		expired++
	}
	used := 0
	for i := range x.shard {
		s := &x.shard[i]
		s.mu.Lock()
		s.expire(x.pages, second, gone)
		if t := s.table.Load(); t != nil {
			used += len(t.pages)
		}
		s.mu.Unlock()
	}
	x.pages.trim(chunkPages + used/growBy/growBy)
	x.write.Lock()
	x.several.expire(second, gone)
	x.write.Unlock()
	x.lifts.expire(second)
	return expired
}

// Count is the number of revocations in force of one kind. One that names
// several members counts as of the first.
func (x *Index) Count(kind Kinds) int64 { return x.count[kind.slot()].Load() }

// clamp is a time in whole seconds, rounded up, which is towards denial, as is
// what happens to a time that 32 bits can not hold: in 2106 begins never.
func clamp(t time.Time) uint32 { return uint32(min(max(ceil(t), 0), never)) }

// end is until for those who compare it.
func (e *entry) end() int64 {
	if e.until == never {
		return math.MaxInt64
	}
	return int64(e.until)
}

func ceil(t time.Time) int64 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return s
}

package cache

import (
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// ReplayConfig bounds a Replay.
type ReplayConfig struct {
	// Entries is how many keys are remembered at once; default 1 000 000. The
	// table grows with them, at 20 bytes a place of which four in five are
	// taken when it is full: 25 MB for the default. It stays as large as it
	// once was. Above some thousands the bound is that of each shard, so that
	// the first refusal may come a few per cent earlier.
	Entries int
}

const (
	defaultReplayEntries = 1_000_000
	maxReplayEntries     = 1 << 30

	// A shard is one lock and at most some thousands of entries, so that it
	// grows and is swept within microseconds.
	maxReplayShards   = 4096
	replayShardTarget = 4096
	firstReplaySlots  = 64
	sweptPerCall      = 4 // places looked at for expired entries by each call
)

// Replay is a window in which every key is seen once: the exact and atomic
// answer to "was this proof used before?". It forgets no key before its time
// and none for space; where it can not know, it says so. It has no clock and
// no goroutine: each call clears a few entries whose time has passed. Any
// goroutine may use it.
type Replay struct {
	seed    maphash.Seed
	shards  []replayShard
	limit   int // entries of a shard
	refused atomic.Uint64
}

// replayShard is an open-addressed table with linear probing. Its order is a
// keyed hash, so that nobody can choose keys which fall together.
type replayShard struct {
	mu    sync.Mutex
	slots []replaySlot
	used  int
	hand  int // where the sweep goes on

	// forgot is the latest second up to which something may have been
	// forgotten: of what expired, and of what there was no room for. A key
	// that ends at or before it may have been seen. That is how a clock that
	// steps back revives nothing.
	forgot uint32
	// fullUntil is when a full shard's first entry expires: until then no
	// sweep can help.
	fullUntil uint32

	_ [64]byte // the next shard's lock is on another cache line
}

// replaySlot is one key and the second from which it may be forgotten; zero is
// an empty slot.
type replaySlot struct {
	key   [16]byte
	until uint32
}

// NewReplay makes an empty window.
func NewReplay(c ReplayConfig) (*Replay, error) {
	switch {
	case c.Entries < 0 || c.Entries > maxReplayEntries:
		return nil, fmt.Errorf("replay entries %d are not from 1 to %d", c.Entries, maxReplayEntries)
	case c.Entries == 0:
		c.Entries = defaultReplayEntries
	}
	shards := 1
	for shards < maxReplayShards && c.Entries/shards > 2*replayShardTarget {
		shards *= 2
	}
	return &Replay{seed: maphash.MakeSeed(), shards: make([]replayShard, shards), limit: (c.Entries + shards - 1) / shards}, nil
}

// Seen records a key until a time and tells whether it is the first with it.
// Of any number of calls with one key exactly one gets first, and no other one
// before until has passed. ok is false where that can not be promised: the
// window is full of live keys, until is not after now, or the clock has stepped
// back behind what was forgotten. Then nothing was recorded, and the caller may
// not go on as if the key were new.
func (r *Replay) Seen(key [16]byte, until, now time.Time) (first, ok bool) {
	end, okEnd := ceilSecond(until)
	current := floorSecond(now)
	s, hash := r.find(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(r, current, sweptPerCall)
	if slot := s.lookup(key, hash); slot != nil && slot.until > current {
		if okEnd {
			slot.until = max(slot.until, end)
		}
		return false, true
	}
	if !okEnd || !until.After(now) || end <= s.forgot || !s.insert(r, key, hash, end, current) {
		r.refused.Add(1)
		return false, false
	}
	return true, true
}

// Peek tells what Seen would, and records nothing.
func (r *Replay) Peek(key [16]byte, until, now time.Time) (first, ok bool) {
	end, okEnd := ceilSecond(until)
	current := floorSecond(now)
	s, hash := r.find(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot := s.lookup(key, hash); slot != nil && slot.until > current {
		return false, true
	}
	if !okEnd || !until.After(now) || end <= s.forgot {
		return false, false
	}
	full := s.used >= r.limit && s.fullUntil > current
	return !full, !full
}

// Add records a key that was seen elsewhere. ok is false where there is no room
// for it, or its time is none. Without room the window remembers that it does
// not know: every key that ends no later is answered with ok=false from then on.
func (r *Replay) Add(key [16]byte, until, now time.Time) (ok bool) {
	end, ok := ceilSecond(until)
	if !ok {
		return false
	}
	current := floorSecond(now)
	s, hash := r.find(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(r, current, sweptPerCall)
	if slot := s.lookup(key, hash); slot != nil {
		slot.until = max(slot.until, end)
		return true
	}
	if end <= current { // its time has passed, unless the clock steps back
		s.forgot = max(s.forgot, end)
		return true
	}
	if !s.insert(r, key, hash, end, current) {
		s.forgot = max(s.forgot, end)
		r.refused.Add(1)
		return false
	}
	return true
}

// ReplayStats are a Replay's numbers.
type ReplayStats struct {
	Entries int    // keys in it, some of which may have expired
	Bytes   int    // of its tables
	Refused uint64 // calls that it could not serve
}

// Stats counts; it takes each shard's lock in turn.
func (r *Replay) Stats() (st ReplayStats) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		st.Entries += s.used
		st.Bytes += len(s.slots) * replaySlotBytes
		s.mu.Unlock()
	}
	st.Refused = r.refused.Load()
	return st
}

const replaySlotBytes = 20

// ceilSecond rounds up, so that nothing is forgotten early; ok is false for
// times that 32 bits do not hold, and for zero, which marks an empty slot.
func ceilSecond(t time.Time) (second uint32, ok bool) {
	n := t.Unix()
	if t.Nanosecond() > 0 {
		n++
	}
	return uint32(n), 0 < n && n <= math.MaxUint32
}

func floorSecond(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), math.MaxUint32))
}

// find gives a key's shard, from the low bits of its hash, and the hash, whose
// high bits give the place.
func (r *Replay) find(key [16]byte) (*replayShard, uint64) {
	hash := r.hash(key)
	return &r.shards[hash&uint64(len(r.shards)-1)], hash
}

func (r *Replay) hash(key [16]byte) uint64 { return maphash.Bytes(r.seed, key[:]) }

func (s *replayShard) home(hash uint64) int {
	place, _ := bits.Mul64(hash, uint64(len(s.slots)))
	return int(place)
}

func (s *replayShard) lookup(key [16]byte, hash uint64) *replaySlot {
	if len(s.slots) == 0 {
		return nil
	}
	for i := s.home(hash); s.slots[i].until != 0; i = s.next(i) {
		if s.slots[i].key == key {
			return &s.slots[i]
		}
	}
	return nil
}

func (s *replayShard) next(i int) int {
	if i++; i < len(s.slots) {
		return i
	}
	return 0
}

// insert records a key that lookup did not find alive.
func (s *replayShard) insert(r *Replay, key [16]byte, hash uint64, end, current uint32) bool {
	if slot := s.lookup(key, hash); slot != nil { // expired; the later end covers the one before
		slot.until = end
		return true
	}
	if s.used >= r.limit && !s.makeRoom(r, current) {
		return false
	}
	s.grow(r)
	s.place(key, hash, end)
	s.used++
	return true
}

// place writes a key to the first empty slot from its home on.
func (s *replayShard) place(key [16]byte, hash uint64, end uint32) {
	i := s.home(hash)
	for s.slots[i].until != 0 {
		i = s.next(i)
	}
	s.slots[i] = replaySlot{key, end}
}

// grow keeps one slot in four empty until the last step, and one in five after it.
func (s *replayShard) grow(r *Replay) {
	largest := r.limit + r.limit/4 + 1
	if len(s.slots) == largest || s.used < len(s.slots)/4*3 {
		return
	}
	size := min(max(firstReplaySlots, 2*len(s.slots)), largest)
	if size > largest/2 {
		size = largest // no step that would be doubled again for a few entries
	}
	old := s.slots
	s.slots, s.hand = make([]replaySlot, size), 0
	for i := range old {
		if old[i].until != 0 {
			s.place(old[i].key, r.hash(old[i].key), old[i].until)
		}
	}
}

// sweep clears expired entries among the next few places.
func (s *replayShard) sweep(r *Replay, current uint32, places int) {
	if s.used == 0 {
		return
	}
	for range places {
		if slot := &s.slots[s.hand]; slot.until != 0 && slot.until <= current {
			s.forgot = max(s.forgot, slot.until)
			s.clear(r, s.hand)
			continue // another entry may have moved here
		}
		s.hand = s.next(s.hand)
	}
}

// makeRoom sweeps a full shard once, and not again before the first of its
// entries expires.
func (s *replayShard) makeRoom(r *Replay, current uint32) bool {
	if s.fullUntil > current {
		return false
	}
	soonest := uint32(math.MaxUint32)
	for i := 0; i < len(s.slots); {
		until := s.slots[i].until
		if until != 0 && until <= current {
			s.forgot = max(s.forgot, until)
			s.clear(r, i)
			continue
		}
		if until != 0 {
			soonest = min(soonest, until)
		}
		i++
	}
	if s.used < r.limit {
		s.fullUntil = 0
		return true
	}
	s.fullUntil = soonest
	return false
}

// clear empties a slot and moves up what stood behind it because of it, so
// that no marks of the dead are left.
func (s *replayShard) clear(r *Replay, hole int) {
	s.used--
	for i := s.next(hole); s.slots[i].until != 0; i = s.next(i) {
		home := s.home(r.hash(s.slots[i].key))
		if between(home, hole, i) {
			s.slots[hole] = s.slots[i]
			hole = i
		}
	}
	s.slots[hole] = replaySlot{}
}

// between tells whether an entry at i whose home is given may stand at hole:
// on the way around from home to i.
func between(home, hole, i int) bool {
	if home <= i {
		return home <= hole && hole < i
	}
	return home <= hole || hole < i
}

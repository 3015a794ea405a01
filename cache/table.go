package cache

import (
	"math"
	"sync/atomic"
)

// table is one shard's entries: a bucketed cuckoo table. An entry stands in
// one of two buckets of eight; when both are full, others move to their second
// bucket. At 95 % load one insert in fifteen moves something.
//
// One writer, any number of readers without a lock. The protocol:
//
//   - An entry is written refs last and cleared refs first, and no two entries
//     ever have the same refs: a reader that finds the refs it found before
//     has read one entry whole.
//   - A move writes the copy, raises moves, clears the original: a reader that
//     looked into the one too early and into the other too late sees that
//     moves has changed, and looks again.
//   - A table that grows is filled anew aside and put in place in one step. A
//     reader that finds another table in place than it read looks again; only
//     after that step are the old pages used for something else.
//
// So every state that the writer leaves between two stores can be read: a
// writer that is stopped anywhere delays nobody.
type table struct {
	from    *pages // whose memory it is
	pages   []*page
	buckets uint32
	moves   atomic.Uint64
	apart   bool // no reader has it yet: plain stores do

	step func() // between any two stores of the writer; only the interleaving test sets it
}

// tag is what the table knows of a key: 56 bits of its keyed hash, of which
// another 8 name the shard, and 14 bits of the key itself.
type tag struct {
	print uint64 // the hash, with its low byte (the shard) replaced by one of the key
	tail  uint8  // six more bits of the key
}

// The refs word is number, place, kind and tail.
const (
	numberBits, placeBits, kindBits, tailBits = 40, 14, 4, 6

	placeAt, numberAt = kindBits + tailBits, placeBits + kindBits + tailBits
	kindMask          = 1<<kindBits - 1
	tailMask          = 1<<tailBits - 1
	placeMask         = 1<<placeBits - 1
)

// entry is one revocation: what a table holds in two words.
type entry struct {
	ref           Ref
	kind          uint8  // its slot
	before, until uint32 // Unix seconds; never is later than all
}

// never is the time of what has no end, and the latest that a time can be.
const never = math.MaxUint32

// fits tells whether the ref has room in a table. A feed that appends 10 000
// records a second outgrows it in three years; what does not fit is kept aside.
func (e *entry) fits() bool {
	return e.ref.Number < 1<<numberBits && e.ref.Place < 1<<placeBits
}

func (e *entry) words(tail uint8) (times, refs uint64) {
	return uint64(e.before)<<32 | uint64(e.until),
		e.ref.Number<<numberAt | uint64(e.ref.Place)<<placeAt | uint64(e.kind)<<tailBits | uint64(tail)
}

func entryOf(times, refs uint64) entry {
	return entry{
		ref:    Ref{Number: refs >> numberAt, Place: uint32(refs >> placeAt & placeMask)},
		kind:   uint8(refs >> tailBits & kindMask),
		before: uint32(times >> 32), until: uint32(times),
	}
}

func (b *bucket) entry(slot int) entry { return entryOf(b.times[slot], b.refs[slot]) }

func (b *bucket) tag(slot int) tag { return tag{b.print[slot], uint8(b.refs[slot] & tailMask)} }

func newTable(from *pages, count int) *table {
	return &table{from: from, pages: from.take(count), buckets: uint32(count) * pageBuckets, apart: true}
}

// places are the two buckets where an entry may stand.
func (t *table) places(print uint64) (first, second uint32) {
	const golden = 0x9e3779b97f4a7c15
	return uint32(print >> 32 * uint64(t.buckets) >> 32), uint32(print * golden >> 32 * uint64(t.buckets) >> 32)
}

func (t *table) bucket(i uint32) *bucket { return &t.pages[i/pageBuckets][i%pageBuckets] }

func (t *table) slots() int { return len(t.pages) * pageSlots }

// find gives the first revocation in the order of the feed that hits a session;
// ok is false where the table changed meanwhile and says nothing.
func (t *table) find(g tag, kind uint8, began, now int64) (best entry, ok bool) {
	moves := t.moves.Load()
	i, j := t.places(g.print)
	one, two := t.bucket(i), t.bucket(j)
	atomic.LoadUint64(&two.print[0]) // both misses of the cache at once
	best, torn := one.scan(g, kind, began, now, best)
	best, again := two.scan(g, kind, began, now, best)
	return best, !torn && !again && t.moves.Load() == moves
}

// scan looks for a tag in one bucket: the first in the order of the feed among
// best and those that hit. torn is a slot that was rewritten meanwhile.
func (b *bucket) scan(g tag, kind uint8, began, now int64, best entry) (_ entry, torn bool) {
	low := uint64(kind)<<tailBits | uint64(g.tail)
	for i := range b.print {
		if atomic.LoadUint64(&b.print[i]) != g.print {
			continue
		}
		refs := atomic.LoadUint64(&b.refs[i])
		if refs == 0 || refs&(1<<placeAt-1) != low {
			continue
		}
		print, times := atomic.LoadUint64(&b.print[i]), atomic.LoadUint64(&b.times[i])
		if atomic.LoadUint64(&b.refs[i]) != refs {
			return best, true
		}
		if e := entryOf(times, refs); print == g.print && e.hits(began, now) {
			best = first(best, e)
		}
	}
	return best, false
}

// hits tells whether the entry is in force at now for what began then.
func (e *entry) hits(began, now int64) bool {
	return (now <= int64(e.until) || e.until == never) && (began <= int64(e.before) || e.before == never)
}

// first is the earlier of two entries in the order of the feed; one without a
// ref is none.
func first(a, b entry) entry {
	if b.ref == (Ref{}) || a.ref != (Ref{}) && a.ref.Compare(b.ref) < 0 {
		return a
	}
	return b
}

// From here on everything is the writer's.

// put writes an entry into a free slot.
func (t *table) put(b *bucket, slot int, print, times, refs uint64) {
	atomic.StoreUint64(&b.times[slot], times)
	t.pause()
	atomic.StoreUint64(&b.print[slot], print)
	t.pause()
	atomic.StoreUint64(&b.refs[slot], refs)
	t.pause()
}

func (t *table) pause() {
	if t.step != nil {
		t.step()
	}
}

func (b *bucket) clear(slot int) { atomic.StoreUint64(&b.refs[slot], 0) }

// room gives a free slot, and how many there are.
func (b *bucket) room() (slot, free int) {
	for i := range b.refs {
		if b.refs[i] == 0 {
			slot = i
			free++
		}
	}
	return slot, free
}

// insert finds a slot for an entry, or says that there is none. The emptier
// bucket takes it, so that both are seldom full.
func (t *table) insert(print, times, refs uint64) bool {
	one, two := t.places(print)
	slot, free := t.bucket(one).room()
	if other, more := t.bucket(two).room(); more > free {
		one, slot, free = two, other, more
	}
	if free == 0 {
		var ok bool
		if one, slot, ok = t.makeRoom(one, two); !ok {
			return false
		}
	}
	b := t.bucket(one)
	if t.apart {
		b.times[slot], b.print[slot], b.refs[slot] = times, print, refs
		return true
	}
	t.put(b, slot, print, times, refs)
	return true
}

// standing is a slot whose entry may move, and the slot that is waiting for it.
type standing struct {
	bucket uint32
	slot   uint8
	waits  int16 // index of the one that wants this place, -1 for the new entry
}

// makeRoom frees a slot in one of two full buckets: the shortest row of moves
// that ends in a free slot, at most two.
func (t *table) makeRoom(one, two uint32) (freed uint32, slot int, ok bool) {
	var queue [2*bucketSlots + 2*bucketSlots*bucketSlots]standing
	n := 0
	add := func(bucket uint32, waits int) {
		for s := range bucketSlots {
			if n < len(queue) {
				queue[n] = standing{bucket, uint8(s), int16(waits)}
				n++
			}
		}
	}
	add(one, -1)
	if two != one {
		add(two, -1)
	}
	for i := 0; i < n; i++ {
		q := queue[i]
		other := t.other(q)
		if other == q.bucket {
			continue
		}
		if room, free := t.bucket(other).room(); free > 0 {
			// From the far end of the row, so that each has a free slot.
			for to := (standing{bucket: other, slot: uint8(room)}); ; {
				t.move(q, to)
				if q.waits < 0 {
					return q.bucket, int(q.slot), true
				}
				to, q = q, queue[q.waits]
			}
		}
		if q.waits < 0 {
			add(other, i)
		}
	}
	return 0, 0, false
}

func (t *table) other(s standing) uint32 {
	one, two := t.places(t.bucket(s.bucket).print[s.slot])
	if one == s.bucket {
		return two
	}
	return one
}

func (t *table) move(from, to standing) {
	b, s := t.bucket(from.bucket), from.slot
	t.put(t.bucket(to.bucket), int(to.slot), b.print[s], b.times[s], b.refs[s])
	t.moves.Add(1)
	t.pause()
	b.clear(int(s))
	t.pause()
}

// all calls do with each entry's bucket and slot.
func (t *table) all(do func(b *bucket, slot int)) {
	for _, p := range t.pages {
		for i := range p {
			for slot := range bucketSlots {
				if p[i].refs[slot] != 0 {
					do(&p[i], slot)
				}
			}
		}
	}
}

// of calls do with the places of one tag's entries.
func (t *table) of(g tag, do func(b *bucket, slot int)) {
	one, two := t.places(g.print)
	for _, i := range [2]uint32{one, two} {
		b := t.bucket(i)
		for slot := range bucketSlots {
			if b.refs[slot] != 0 && b.tag(slot) == g {
				do(b, slot)
			}
		}
		if one == two {
			return
		}
	}
}

package cache

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// TestSipHash: the vector of the reference implementation for 16 bytes.
func TestSipHash(t *testing.T) {
	k := sipKey{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	key := Key{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	if got := k.sum(&key); got != 0x3f2acc7f57c29bdb {
		t.Errorf("%#x", got)
	}
}

func TestEntryWords(t *testing.T) {
	for _, e := range []entry{
		{Ref{1, 0}, 0, 0, 0},
		{Ref{1<<numberBits - 1, 1<<placeBits - 1}, numKinds - 1, never, never},
		{Ref{12, MaxEvents - 1}, 3, 1, 2},
	} {
		if times, refs := e.words(tailMask); entryOf(times, refs) != e || refs&tailMask != tailMask {
			t.Errorf("%+v becomes %+v", e, entryOf(times, refs))
		}
	}
	for ref, fits := range map[Ref]bool{{1<<numberBits - 1, 0}: true, {1 << numberBits, 0}: false, {1, 1 << placeBits}: false} {
		if e := (entry{ref: ref}); e.fits() != fits {
			t.Errorf("%v fits: %v", ref, e.fits())
		}
	}
}

// reader is a lookup that is stopped between its steps.
type reader struct {
	tag   tag
	moves uint64
	best  entry
	torn  bool
	done  int // steps taken: 0 moves read, 1 first bucket, 2 second bucket
}

func (r *reader) next(t *table) {
	i, j := t.places(r.tag.print)
	var torn bool
	r.best, torn = t.bucket([]uint32{i, j}[r.done]).scan(r.tag, 0, 0, 0, r.best)
	r.torn = r.torn || torn
	r.done++
}

// TestTableInterleave stops the writer between any two of its stores, and
// there begins, continues and ends lookups in every combination: those that end
// with an answer find what is in force throughout.
func TestTableInterleave(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	answered, asked := 0, 0
	for range 300 {
		tab := newTable(newPages(), 1)
		tab.buckets, tab.apart = uint32(2+rnd.IntN(4)), false // small, so that much moves
		held := map[tag]Ref{}
		var open []reader
		tab.step = func() {
			var more []reader
			for g := range held {
				more = append(more, reader{tag: g, moves: tab.moves.Load()})
			}
			for _, r := range append(open, more...) {
				for r.done < 2 {
					r.next(tab)
					more = append(more, r)
				}
				asked++
				if tab.moves.Load() != r.moves || r.torn {
					continue // it looks again
				}
				answered++
				if want := held[r.tag]; r.best.ref != want {
					t.Fatalf("lookup of %v gives %v", want, r.best.ref)
				}
			}
			for _, r := range more {
				if r.done < 2 {
					open = append(open, r)
				}
			}
		}
		for n := uint64(1); n <= uint64(tab.buckets)*bucketSlots; n++ {
			e := entry{ref: Ref{Number: n}, before: never, until: never}
			g := tag{print: rnd.Uint64()}
			times, refs := e.words(g.tail)
			if open = nil; !tab.insert(g.print, times, refs) {
				break
			}
			open, held[g] = nil, e.ref
			tab.step()
			if rnd.IntN(8) == 0 { // another leaves
				for g := range held {
					delete(held, g)
					tab.of(g, func(b *bucket, slot int) { b.clear(slot) })
					break
				}
			}
		}
	}
	t.Logf("%d of %d lookups had an answer", answered, asked)
	if answered == asked || answered < asked/2 {
		t.Error("nothing moved, or hardly anything was answered")
	}
}

// TestTableFillsUp: a table takes 93 in 100 of its slots with moves of two
// steps, and all that it took is found.
func TestTableFillsUp(t *testing.T) {
	for _, pages := range []int{1, 2, 7, 40} {
		tab := newTable(newPages(), pages)
		rnd := rand.New(rand.NewPCG(1, uint64(pages)))
		n := tab.slots() * fullPerCent / 100
		var prints []uint64
		for i := range n {
			prints = append(prints, rnd.Uint64())
			e := entry{ref: Ref{Number: uint64(i + 1)}, until: never, before: never}
			if times, refs := e.words(0); !tab.insert(prints[i], times, refs) {
				t.Fatalf("%d pages: full at %d of %d", pages, i, tab.slots())
			}
		}
		for i, print := range prints {
			if e, ok := tab.find(tag{print: print}, 0, 0, 0); !ok || e.ref.Number != uint64(i+1) {
				t.Fatalf("%d pages: entry %d is %v", pages, i, e)
			}
		}
	}
}

// TestAside: what the table has no room for is found as well: entries of one
// place, refs that are too large, many revocations of one key.
func TestAside(t *testing.T) {
	s, from := &shard{}, newPages()
	want := map[tag][]Ref{}
	insert := func(g tag, ref Ref) {
		s.insert(from, g, entry{ref: ref, before: never, until: uint32(ref.Number)})
		want[g] = append(want[g], ref)
	}
	const crowd = 40 // the same two buckets, whatever the size
	for i := range uint64(crowd) {
		insert(tag{print: 42 << 32, tail: uint8(i)}, Ref{Number: i + 1})
	}
	for i := range uint64(100) {
		insert(tag{print: 7 << 40}, Ref{Number: 100 + i})
	}
	insert(tag{print: 9 << 50}, Ref{Number: 1 << numberBits})
	insert(tag{print: 9 << 50}, Ref{Number: math.MaxUint64, Place: math.MaxUint32})
	check := func(now int64) {
		t.Helper()
		for g, refs := range want {
			var first Ref
			for _, ref := range refs {
				if int64(uint32(ref.Number)) >= now && (first == Ref{} || ref.Compare(first) < 0) {
					first = ref
				}
			}
			if got := s.find(g, 0, 0, now); got.ref != first {
				t.Fatalf("at %d %+v gives %v, want %v", now, g, got.ref, first)
			}
		}
	}
	if n := s.aside.n.Load(); n < crowd-2*bucketSlots+100-tableShare+2 || len(s.table.Load().pages) > 2*crowd {
		t.Errorf("%d aside, %d pages", n, len(s.table.Load().pages))
	}
	for now := range int64(250) {
		check(now)
		if now%50 == 0 {
			s.expire(from, now, func(entry) {})
			check(now)
		}
	}
}

// TestTimesThatDoNotFit: what ends after 2106 never does; what began before
// 1970 began then.
func TestTimesThatDoNotFit(t *testing.T) {
	century := t0.AddDate(100, 0, 0)
	x := NewIndex()
	x.Apply(1, t0, []Event{
		revocation(User, "alice", century, century),
		revocation(User, "bob", time.Unix(-5, 0), time.Unix(math.MaxUint32-1, 0)),
		revocation(User, "carol", t0, time.Unix(1<<40, 0)),
	})
	ask := func(user string) *Subject { return subject(map[Kinds]string{User: user}) }
	if hit := x.Status(ask("alice"), century.AddDate(100, 0, 0), century.AddDate(100, 0, 0)); hit.Until != math.MaxInt64 {
		t.Errorf("a revocation of a century: %+v", hit)
	}
	if hit := x.Status(ask("bob"), time.Unix(0, 0), time.Unix(math.MaxUint32-1, 0)); hit.Until != math.MaxUint32-1 {
		t.Errorf("in its last second: %+v", hit)
	}
	if hit := x.Status(ask("bob"), time.Unix(0, 0), time.Unix(math.MaxUint32, 0)); hit != (Hit{}) {
		t.Errorf("after its last second: %+v", hit)
	}
	if n := x.Expire(time.Unix(1<<41, 0)); n != 1 || x.Status(ask("carol"), t0, time.Unix(1<<41, 0)) == (Hit{}) {
		t.Errorf("%d ended that never do", n)
	}
}

// TestIndexGivesMemoryBack: growth reuses the pages that it leaves; what
// expired leaves no table behind.
func TestIndexGivesMemoryBack(t *testing.T) {
	x := NewIndex()
	const n = 300_000
	fill(x.Apply, n)
	pages := func() (n int) {
		for i := range x.shard {
			n += len(x.shard[i].table.Load().pages)
		}
		return n
	}
	if got := float64(pages()*pageSlots) / n; got > 1.4 {
		t.Errorf("%.2f slots for each entry", got)
	}
	if got := len(x.pages.mapped.memory) * chunkPages; got > pages()*5/4+chunkPages {
		t.Errorf("%d pages mapped, %d in use", got, pages())
	}
	x.Expire(t0.Add(100 * 24 * time.Hour))
	if got := pages(); got > tableShards || x.Count(User) != 0 {
		t.Errorf("%d pages, %d entries after the end of all", got, x.Count(User))
	}
	if free := len(x.pages.free) - x.pages.trimmed; free > chunkPages+1 {
		t.Errorf("%d free pages still hold memory", free)
	}
	fill(func(number uint64, at time.Time, events []Event) { x.Apply(1<<20+number, at, events) }, n)
	for i := range uint64(n) {
		var s Subject
		if s[2] = benchKey(i); x.Status(&s, t0, t0) == (Hit{}) {
			t.Fatal(fmt.Sprint(i, " is missing in pages that were used before"))
		}
	}
}

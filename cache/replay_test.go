package cache

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

var r0 = time.Unix(1_800_000_000, 0)

func replay(t testing.TB, entries int) *Replay {
	t.Helper()
	r, err := NewReplay(ReplayConfig{Entries: entries})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func replayKeyOf(n uint64) (key [16]byte) {
	// Half of a digest is spread out; so is this.
	binary.LittleEndian.PutUint64(key[:], n*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(key[8:], n)
	return key
}

func TestReplaySeen(t *testing.T) {
	r := replay(t, 3)
	after := func(d time.Duration) time.Time { return r0.Add(d) }
	for i, step := range []struct {
		key        uint64
		until, now time.Duration // after r0
		first, ok  bool
	}{
		{1, 60 * time.Second, 0, true, true},
		{1, 60 * time.Second, 0, false, true},
		{1, 60 * time.Second, 60*time.Second - 1, false, true},
		{1, 120 * time.Second, 60 * time.Second, true, true},  // forgotten in the moment it names, not before
		{2, 60 * time.Second, 60 * time.Second, false, false}, // its own time has passed
		{2, 61*time.Second - 1, 60 * time.Second, true, true}, // ends within the second
		{2, 61*time.Second - 1, 61*time.Second - 1, false, true},
		{3, 120 * time.Second, 60 * time.Second, true, true},
		{4, 120 * time.Second, 60 * time.Second, false, false}, // full of live entries
		{1, 120 * time.Second, 60 * time.Second, false, true},  // what is in it is still known
		{4, 120 * time.Second, 61 * time.Second, true, true},   // 2 made room
		{5, 61 * time.Second, 30 * time.Second, false, false},  // the clock stepped back: 5 may have been seen
		{1, 130 * time.Second, 70 * time.Second, false, true},  // the later end counts
		{1, 130 * time.Second, 125 * time.Second, false, true},
		{6, math.MaxInt64, 70 * time.Second, false, false}, // beyond 2106
	} {
		first, ok := r.Seen(replayKeyOf(step.key), after(step.until), after(step.now))
		if first != step.first || ok != step.ok {
			t.Fatalf("step %d: first %v, ok %v", i, first, ok)
		}
	}
}

// TestReplayPeek: a look uses nothing up.
func TestReplayPeek(t *testing.T) {
	r := replay(t, 1)
	key, until := replayKeyOf(1), r0.Add(time.Minute)
	for range 3 {
		if first, ok := r.Peek(key, until, r0); !first || !ok {
			t.Fatal("a key that was only looked at is known")
		}
	}
	r.Seen(key, until, r0)
	if first, ok := r.Peek(key, until, r0); first || !ok {
		t.Errorf("first %v, ok %v", first, ok)
	}
	r.Seen(replayKeyOf(2), until, r0)
	if first, ok := r.Peek(replayKeyOf(2), until, r0); first || ok {
		t.Errorf("full: first %v, ok %v", first, ok)
	}
	if first, ok := r.Peek(replayKeyOf(2), r0, r0); first || ok {
		t.Errorf("past: first %v, ok %v", first, ok)
	}
}

// TestReplayAdd: what another replica saw is known here, and what there was no
// room for is not taken for new.
func TestReplayAdd(t *testing.T) {
	r := replay(t, 2)
	until := r0.Add(time.Minute)
	if !r.Add(replayKeyOf(1), until, r0) || !r.Add(replayKeyOf(1), until, r0) || !r.Add(replayKeyOf(2), until, r0) {
		t.Fatal("not added")
	}
	if first, ok := r.Seen(replayKeyOf(1), until, r0); first || !ok {
		t.Errorf("first %v, ok %v", first, ok)
	}
	if r.Add(replayKeyOf(3), until.Add(time.Second), r0) {
		t.Error("added to a full window")
	}
	later := r0.Add(time.Minute) // 1 and 2 have ended, 3 has not
	if first, ok := r.Seen(replayKeyOf(3), until.Add(time.Second), later); first || ok {
		t.Errorf("a key there was no room for: first %v, ok %v", first, ok)
	}
	if first, ok := r.Seen(replayKeyOf(4), until.Add(2*time.Second), later); !first || !ok {
		t.Errorf("a key that ends later: first %v, ok %v", first, ok)
	}
	if r.Add(replayKeyOf(5), time.Time{}, r0) || r.Add(replayKeyOf(5), time.Unix(math.MaxUint32+1, 0), r0) {
		t.Error("a time out of range was taken")
	}
	if !r.Add(replayKeyOf(5), r0, later) || r.Stats().Entries > 2 {
		t.Error("a key whose time has passed takes room")
	}
}

// TestReplayModel compares with a map asked one entry after the other. One
// shard, so that the bound is exact; clocks step both ways.
func TestReplayModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.IntRange(1, 40).Draw(t, "entries")
		r, err := NewReplay(ReplayConfig{Entries: entries})
		if err != nil {
			t.Fatal(err)
		}
		model := map[uint64]time.Time{} // key -> until, never cleared
		lost := time.Time{}             // the latest end of what Add had no room for
		high, now := r0, r0
		steps := rapid.IntRange(1, 200).Draw(t, "steps")
		for range steps {
			step := rapid.IntRange(-1000, 5000).Draw(t, "ms")
			now = now.Add(time.Duration(step) * time.Millisecond)
			high = maxTime(high, now)
			key := rapid.Uint64Range(1, 60).Draw(t, "key")
			until := now.Add(time.Duration(rapid.IntRange(-1000, 30_000).Draw(t, "life")) * time.Millisecond)
			known := model[key].After(now)
			if rapid.IntRange(0, 4).Draw(t, "op") == 0 {
				if r.Add(replayKeyOf(key), until, now) {
					model[key] = maxTime(model[key], until)
				} else {
					lost = maxTime(lost, until)
					if high.Equal(now) && liveAtSecond(model, now) < entries {
						t.Fatalf("no room with %d of %d", liveAtSecond(model, now), entries)
					}
				}
				continue
			}
			first, ok := r.Seen(replayKeyOf(key), until, now)
			switch {
			case known && (first || !ok) && high.Equal(now):
				t.Fatalf("key %d known until %v: first %v, ok %v", key, model[key], first, ok)
			case known && first && (model[key].After(high) || !until.After(model[key])):
				// What ended by the highest clock may be new again, with a later end.
				t.Fatalf("key %d was forgotten at %v, before %v", key, now, model[key])
			case first && !ok:
				t.Fatal("first without ok")
			case first && !until.After(now):
				t.Fatal("a key whose time has passed is new")
			case !known && ok && !first && !model[key].Add(time.Second).After(now):
				t.Fatalf("key %d known, and nobody recorded it", key)
			case !ok && high.Equal(now) && until.After(now.Add(time.Second)) && until.After(lost.Add(time.Second)) && !known && liveAtSecond(model, now) < entries:
				t.Fatalf("no room with %d of %d", liveAtSecond(model, now), entries)
			}
			if ok {
				model[key] = maxTime(model[key], until)
			}
			if st := r.Stats(); st.Entries > entries {
				t.Fatalf("%d entries of %d", st.Entries, entries)
			}
		}
	})
}

// TestReplayStepBack: what made room in a full table is not new again when the
// clock steps back, wherever the sweep stood.
func TestReplayStepBack(t *testing.T) {
	for gone := range uint64(50) {
		r := replay(t, 50)
		ends := r0.Add(10 * time.Second)
		for key := range uint64(50) {
			until := r0.Add(time.Minute)
			if key == gone {
				until = ends
			}
			r.Seen(replayKeyOf(key), until, r0)
		}
		if first, ok := r.Seen(replayKeyOf(50), r0.Add(time.Minute), ends); !first || !ok {
			t.Fatalf("key %d made no room: first %v, ok %v", gone, first, ok)
		}
		if first, _ := r.Seen(replayKeyOf(gone), ends, r0); first {
			t.Fatalf("key %d is new again", gone)
		}
	}
}

// TestReplayDense runs one small, full table for long: entries that wrap around
// its end, sweeps while it is full, and the moment at which there is room again.
func TestReplayDense(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 2))
	for _, entries := range []int{5, 16, 50} {
		r, now, model := replay(t, entries), r0, map[uint64]time.Time{}
		back := time.Duration(0) // how far the clock is set back for one call
		for step := range 20_000 {
			if rng.IntN(4) == 0 {
				now = now.Add(time.Duration(rng.IntN(2000)) * time.Millisecond)
			}
			if back = 0; rng.IntN(50) == 0 {
				back = time.Duration(rng.IntN(20)) * time.Second
			}
			key := uint64(rng.IntN(3 * entries))
			until := now.Add(time.Duration(1+rng.IntN(20)) * time.Second)
			if rng.IntN(2) == 0 && !model[key].IsZero() {
				until = model[key] // the same proof again
			}
			known, room := model[key].Add(time.Second-1).Truncate(time.Second).After(now.Truncate(time.Second)), liveAtSecond(model, now) < entries
			first, ok := r.Seen(replayKeyOf(key), until, now.Add(-back))
			switch {
			case back > 0:
				if first && !until.After(model[key]) {
					t.Fatalf("seed %d, step %d: the clock stepped back, and key %d is new again", seed, step, key)
				}
			case known && (first || !ok), !known && until.After(now) && (first != room || ok != room):
				t.Fatalf("seed %d, step %d: key %d, known %v, room %v: first %v, ok %v", seed, step, key, known, room, first, ok)
			}
			if ok {
				model[key] = maxTime(model[key], until)
			}
		}
	}
}

// liveAtSecond counts as the window does: by whole seconds.
func liveAtSecond(model map[uint64]time.Time, now time.Time) (n int) {
	for _, end := range model {
		if end.Add(time.Second - 1).Truncate(time.Second).After(now.Truncate(time.Second)) {
			n++
		}
	}
	return n
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// TestReplayRace: RV22. Of a hundred callers exactly one is first, for every
// key, while others add, look and expire.
func TestReplayRace(t *testing.T) {
	const keys, callers = 300, 100
	r := replay(t, 100_000)
	var firsts [keys]atomic.Int32
	start := make(chan struct{})
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			<-start
			for k := range uint64(keys) {
				now := r0.Add(time.Duration(k) * 10 * time.Millisecond)
				if first, ok := r.Seen(replayKeyOf(k), r0.Add(time.Minute), now); !ok {
					t.Errorf("key %d: not ok", k)
				} else if first {
					firsts[k].Add(1)
				}
				r.Seen(replayKeyOf(1_000_000+k*callers+uint64(c)), now.Add(time.Second), now)
				r.Add(replayKeyOf(2_000_000+k), now.Add(time.Second), now)
				r.Peek(replayKeyOf(k), r0.Add(time.Minute), now)
			}
		})
	}
	close(start)
	all.Wait()
	for k := range firsts {
		if n := firsts[k].Load(); n != 1 {
			t.Errorf("key %d: %d were first", k, n)
		}
	}
}

// TestReplaySurvives: a record outlives any number of later ones inside its
// window, or the answer is that there is no room (issue 6).
func TestReplaySurvives(t *testing.T) {
	later := replaySurvivors
	for _, entries := range []int{100_000, 2 * later} {
		t.Run(fmt.Sprint(entries), func(t *testing.T) {
			r := replay(t, entries)
			until := r0.Add(time.Minute)
			mine := replayKeyOf(0)
			if first, ok := r.Seen(mine, until, r0); !first || !ok {
				t.Fatal("the first is not first")
			}
			refused, taken := 0, 0
			for n := uint64(1); n <= uint64(later); n++ {
				if first, ok := r.Seen(replayKeyOf(n), until, r0.Add(time.Second)); !ok {
					refused++
				} else if !first {
					t.Fatalf("key %d is known", n)
				} else {
					taken++
				}
			}
			if first, ok := r.Seen(mine, until, until.Add(-1)); first || !ok {
				t.Errorf("forgotten: first %v, ok %v", first, ok)
			}
			if taken < min(later, entries*9/10) || taken >= max(entries, later+1) {
				t.Errorf("%d of %d taken, %d refused", taken, entries, refused)
			}
			if first, ok := r.Seen(replayKeyOf(uint64(later)), until.Add(time.Minute), until); !first || !ok {
				t.Errorf("after its time a full window has no room: first %v, ok %v", first, ok)
			}
		})
	}
}

// TestReplayKeepsUp: at a steady rate the table does not grow past what lives.
func TestReplayKeepsUp(t *testing.T) {
	r := replay(t, 1_000_000)
	const rate, life = 1000, 20 // a second, seconds
	for second := range 200 {
		now := r0.Add(time.Duration(second) * time.Second)
		for n := range rate {
			if first, ok := r.Seen(replayKeyOf(uint64(second*rate+n)), now.Add(life*time.Second), now); !first || !ok {
				t.Fatalf("second %d: first %v, ok %v", second, first, ok)
			}
		}
	}
	if n := r.Stats().Entries; n > 2*rate*life {
		t.Errorf("%d entries, of which %d live", n, rate*life)
	}
}

func TestReplayConfig(t *testing.T) {
	for _, entries := range []int{-1, maxReplayEntries + 1} {
		if _, err := NewReplay(ReplayConfig{Entries: entries}); err == nil {
			t.Errorf("%d entries taken", entries)
		}
	}
	if r := replay(t, 0); r.limit*len(r.shards) < defaultReplayEntries {
		t.Errorf("%d shards of %d", len(r.shards), r.limit)
	}
	if unsafe.Sizeof(replaySlot{}) != replaySlotBytes {
		t.Errorf("a slot has %d bytes", unsafe.Sizeof(replaySlot{}))
	}
}

func TestReplayAllocs(t *testing.T) {
	r := replay(t, 1_000_000)
	for n := range uint64(100_000) {
		r.Seen(replayKeyOf(n), r0.Add(time.Minute), r0)
	}
	n := uint64(1_000_000)
	if allocs := testing.AllocsPerRun(1000, func() { n++; r.Seen(replayKeyOf(n), r0.Add(time.Minute), r0) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// BenchmarkReplaySeen asks a window that holds a million live entries.
func BenchmarkReplaySeen(b *testing.B) {
	const live = 1_000_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := replay(b, live+live/8)
	for n := range uint64(live) {
		r.Seen(replayKeyOf(n), r0.Add(time.Minute), r0)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for n := uint64(0); b.Loop(); n++ {
			r.Seen(replayKeyOf(n*7919%live), r0.Add(time.Minute), r0)
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/live, "B/entry")
	})
	b.Run("new", func(b *testing.B) {
		// A million live ones at 100 000 a second: each second's end as well.
		b.ReportAllocs()
		for n := uint64(live); b.Loop(); n++ {
			now := r0.Add(time.Minute + time.Duration(n-live)*10*time.Microsecond)
			if _, ok := r.Seen(replayKeyOf(n), now.Add(9*time.Second), now); !ok {
				b.Fatal("full")
			}
		}
	})
	runtime.KeepAlive(r)
}

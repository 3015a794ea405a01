package cache

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// whileReading runs write beside some readers, until it returns.
func whileReading(t *testing.T, readers int, read func(i int) bool, write func()) {
	t.Helper()
	done := make(chan struct{})
	var running sync.WaitGroup
	for i := range readers {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if !read(i) {
						return
					}
				}
			}
		})
	}
	write()
	close(done)
	running.Wait()
}

// TestReadersAndOneWriter: what is in force throughout is seen throughout,
// while tables move entries, grow, shrink and are copied for an image.
func TestReadersAndOneWriter(t *testing.T) {
	x := newIndex(modelSecret)
	const held = 500
	var events []Event
	for i := range held {
		events = append(events, Event{Op: OpRevoke, Kinds: User, Key: modelKeys[i], Before: t0, Until: second(100 + i)})
	}
	x.Apply(1, t0, events)
	read := func(i int) bool {
		for n := range held {
			var s Subject
			s.Set(User, modelKeys[(n+i*100)%held])
			hit := x.Status(&s, t0, t0)
			if hit.Until != second(100+int(hit.Ref.Place)).Unix() || int(hit.Ref.Place) != (n+i*100)%held {
				t.Errorf("revocation %d is %+v", (n+i*100)%held, hit)
				return false
			}
		}
		return true
	}
	whileReading(t, 3, read, func() {
		for round := range uint64(6) {
			for n := range uint64(len(modelKeys)-held) / 50 {
				var events []Event
				for i := range uint64(50) {
					key := modelKeys[held+n*50+i]
					e := Event{Op: OpRevoke, Kinds: User, Key: key, Before: t0, Until: second(int(n) % 50)}
					if i%5 == 4 { // another of a key that is held
						e.Key = modelKeys[(n+i)%held]
					}
					events = append(events, e)
				}
				x.Apply(2+round*1000+n, t0, events)
				if n%20 == 19 {
					x.Expire(second(int(n) % 50))
				}
			}
			image, err := x.Freeze(Position{Number: x.Applied()})
			if err != nil {
				t.Error(err)
				return
			}
			var b bytes.Buffer
			if err := image.Write(&b); err != nil {
				t.Error(err)
			}
			x.Expire(second(60))
		}
	})
	if n := x.Count(User); n != held {
		t.Errorf("%d left", n)
	}
}

// TestSlotIsReadWhole: a reader that looks at a slot while entries follow each
// other in it never takes the words of two for one.
func TestSlotIsReadWhole(t *testing.T) {
	tab := newTable(newPages(), 1)
	tab.apart = false
	b, one, two := tab.bucket(0), tag{print: 1 << 40}, tag{print: 2 << 40}
	time := func(n uint64) uint32 { return uint32(n*2654435761) >> 1 }
	read := func(int) bool {
		for range 1000 {
			e, torn := b.scan(one, 0, 0, 0, entry{})
			if n := e.ref.Number; !torn && n != 0 && (n%2 != 0 || e.until != time(n) || e.before != time(n)) {
				t.Errorf("entry %d ends at %d, not at %d", n, e.until, time(n))
				return false
			}
		}
		return true
	}
	whileReading(t, 2, read, func() {
		for n := uint64(2); n < modelOperations; n++ {
			g := []tag{one, two}[n%2]
			e := entry{ref: Ref{Number: n}, before: time(n), until: time(n)}
			times, refs := e.words(0)
			tab.put(b, 0, g.print, times, refs)
			b.clear(0)
		}
	})
}

// TestImageBesideTheWriter: an image that is written while records are applied
// holds exactly what was before them.
func TestImageBesideTheWriter(t *testing.T) {
	x := NewIndex()
	fill(x.Apply, 20_000)
	want := x.List(User, Ref{}, 1<<30)
	image, err := x.Freeze(Position{Number: x.Applied()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Freeze(Position{Number: x.Applied()}); err == nil {
		t.Error("two images at once")
	}
	var b bytes.Buffer
	var writing sync.WaitGroup
	writing.Go(func() {
		if err := image.Write(&b); err != nil {
			t.Error(err)
		}
	})
	for i := range uint64(20_000) {
		e := Event{Op: OpLift, Kinds: User, Key: benchKey(i), Lifts: Ref{Number: i/1000 + 1, Place: uint32(i % 1000)}}
		x.Apply(1000+i, t0, []Event{e, {Op: OpRevoke, Kinds: User, Key: benchKey(1 << 30), Before: t0, Until: t0.Add(time.Hour)}})
	}
	writing.Wait()
	y, _, err := ReadSnapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	if got := y.List(User, Ref{}, 1<<30); len(got) != len(want) {
		t.Errorf("the image has %d, want %d", len(got), len(want))
	}
	if _, err := x.Freeze(Position{Number: x.Applied() - 1}); err == nil {
		t.Error("an image behind the index")
	}
	if image, err = x.Freeze(Position{Number: x.Applied()}); err != nil {
		t.Fatal("no image after the first: ", err)
	}
	image.Drop()
}

// TestSeveralBesideExpire: who applies and who expires do not lose each other's
// work.
func TestSeveralBesideExpire(t *testing.T) {
	x := NewIndex()
	s := subject(map[Kinds]string{User: "held", Tenant: "acme"})
	held := complexEvent(Member{User, "held"}, Member{Tenant, "acme"})
	x.Apply(1, t0, []Event{held})
	read := func(int) bool {
		x.Expire(second(50))
		return x.Status(s, t0, t0).Ref == (Ref{Number: 1})
	}
	whileReading(t, 1, read, func() {
		for n := uint64(2); n < 2000; n++ {
			e := complexEvent(Member{User, "a"}, Member{Tenant, "acme"})
			if e.Until = second(int(n) % 100); n%3 == 0 {
				e.Op, e.Lifts = OpLift, Ref{Number: n - 1}
			}
			x.Apply(n, t0, []Event{e})
		}
	})
	x.Expire(second(101))
	if sets := x.several.sets.Load(); x.Count(User) != 1 || sets == nil || len(*sets) != 1 || (*sets)[0].n != 1 {
		t.Errorf("%d left, counted as %v", x.Count(User), sets)
	}
	if x.Status(s, t0, t0).Ref != (Ref{Number: 1}) {
		t.Error("what is held is gone")
	}
}

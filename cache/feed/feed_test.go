package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/cache"
)

func TestNewRefuses(t *testing.T) {
	apply := func(uint64, time.Time, []cache.Event) {}
	good := Config{Log: &Memory{}, Key: testKey, Apply: apply, Sync: &cache.Sync{}}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(c *Config){
		"no log":       func(c *Config) { c.Log = nil },
		"no apply":     func(c *Config) { c.Apply = nil },
		"no sync":      func(c *Config) { c.Sync = nil },
		"no key":       func(c *Config) { c.Key = nil },
		"short key":    func(c *Config) { c.Key = testKey[1:] },
		"negative age": func(c *Config) { c.MaxAge = -1 },
	} {
		c := good
		edit(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The first replica makes the genesis record, one tick, and is in sync.
func TestGenesis(t *testing.T) {
	log := &Memory{}
	r := start(t, Config{Log: log, MaxAge: time.Hour}).synced(t)
	entries := log.Entries()
	if len(entries) != 2 || entries[0].Record[1] != byte(typeGenesis) || entries[1].Record[1] != byte(typeTick) {
		t.Fatalf("%d records", len(entries))
	}
	s := r.Status()
	if s.Number != 2 || s.Epoch == (Epoch{}) || !s.Connected || s.LastTime.IsZero() || s.Bytes != 2*minRecord {
		t.Errorf("%+v", s)
	}
	if h := r.sync.Health(time.Now(), time.Hour); h != cache.Fresh || r.sync.Number() != 2 {
		t.Errorf("%v at %d", h, r.sync.Number())
	}
	again := start(t, Config{Log: log, MaxAge: time.Hour}).synced(t)
	if got := again.Status(); got.Epoch != s.Epoch || got.Number != 3 {
		t.Errorf("the second start: %+v", got)
	}
}

func TestAppendGivesBack(t *testing.T) {
	r := start(t, Config{Log: &Memory{}}).synced(t)
	before := time.Now()
	want := []cache.Event{revoke("s1"), revoke("s2")}
	n, at, err := r.Append(t.Context(), want...)
	if err != nil || at.Before(before.Add(-time.Millisecond)) || at.After(time.Now()) {
		t.Fatal(n, at, err)
	}
	if r.index.Applied() < n || !r.has("s1") || !r.has("s2") {
		t.Error("acknowledged and not applied")
	}
	gotAt, got, err := r.Events(t.Context(), n)
	if diff := cmp.Diff(want, got); err != nil || !gotAt.Equal(at) || diff != "" {
		t.Errorf("%v, at %v not %v\n%s", err, gotAt, at, diff)
	}
	for _, number := range []uint64{0, 1, 2, n + 1000} {
		if _, got, err := r.Events(t.Context(), number); !errors.Is(err, ErrNoRecord) || got != nil {
			t.Errorf("events of record %d: %v %v", number, got, err)
		}
	}
}

func TestEventsVerifies(t *testing.T) {
	log := &Memory{}
	r := start(t, Config{Log: log, MaxAge: time.Hour}).synced(t)
	n := r.revoke(t, "s1")
	m := r.revoke(t, "s2")
	other, _ := chain(Epoch{1}, typeGenesis, typeTick, typeEvents)
	for name, b := range map[string][]byte{"another record": log.Entries()[m-1].Record, "another feed's": other[n-1], "noise": []byte("\x01noise")} {
		log.Edit(func(e []Entry) []Entry { e[n-1].Record = b; return e })
		var broken *Break
		if _, got, err := r.Events(t.Context(), n); !errors.As(err, &broken) || got != nil {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
}

// Nothing is appended by a replica that does not know the log's end.
func TestAppendBeforeSync(t *testing.T) {
	log := &Memory{}
	log.Fail(func(op Op, _ uint64) error {
		if op == OpRead {
			return errors.New("no connection")
		}
		return nil
	})
	r := start(t, Config{Log: log})
	if _, _, err := r.Append(t.Context(), revoke("s1")); !errors.Is(err, ErrNotDurable) || !strings.Contains(err.Error(), "not yet read") {
		t.Errorf("append: %v", err)
	}
	if h := r.sync.Health(time.Now(), time.Hour); h != cache.NotReady {
		t.Errorf("health %v", h)
	}
	r.await(t, "cut", func(Status) bool { return r.said.count("can not be reached") == 1 })
	log.Fail(nil)
	r.synced(t).revoke(t, "s1")
	if r.said.count("can be reached again") != 1 {
		t.Error(r.state())
	}
}

func TestAppendInvalid(t *testing.T) {
	log := &Memory{}
	r := start(t, Config{Log: log, MaxAge: time.Hour}).synced(t)
	wrong := revoke("s1")
	wrong.Key[0]++
	for name, events := range map[string][]cache.Event{"none": {}, "wrong key": {revoke("s2"), wrong}, "zero": {{}}} {
		if _, _, err := r.Append(t.Context(), events...); !errors.Is(err, ErrNotDurable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(log.Entries()) != 2 {
		t.Error("something was stored")
	}
}

// The log's answer is lost. What was stored is found and acknowledged; what
// was not, or can not be found, is not acknowledged.
func TestAppendAmbiguous(t *testing.T) {
	lost := errors.New("answer lost")
	for _, tt := range []struct {
		name   string
		fail   map[Op]error
		want   error
		stored bool
	}{
		{"stored", map[Op]error{OpStored: lost}, nil, true},
		{"not stored", map[Op]error{OpAppend: lost}, lost, false},
		{"stored, and nobody can tell", map[Op]error{OpStored: lost, OpGet: lost}, lost, true},
		{"not stored, and nobody can tell", map[Op]error{OpAppend: lost, OpGet: lost}, lost, false},
		{"refused", map[Op]error{OpAppend: ErrRefused}, ErrRefused, false},
		{"stored, and then refused", map[Op]error{OpStored: ErrRefused}, ErrRefused, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := &Memory{}
			r := start(t, Config{Log: log, MaxAge: time.Hour}).synced(t)
			log.Fail(func(op Op, _ uint64) error { return tt.fail[op] })
			n, _, err := r.Append(t.Context(), revoke("s1"))
			if !errors.Is(err, tt.want) || (err != nil) != errors.Is(err, ErrNotDurable) || (err == nil) != (n == 3) {
				t.Errorf("append: %d, %v", n, err)
			}
			log.Fail(nil)
			// The next one lands behind whatever became of it.
			after := r.revoke(t, "s2")
			if want := uint64(3); tt.stored {
				want++
				if after != want || !r.has("s1") {
					t.Errorf("next in record %d", after)
				}
			} else if after != want || r.has("s1") {
				t.Errorf("next in record %d", after)
			}
			if r.Status().Breaks != 0 {
				t.Error(r.state())
			}
		})
	}
}

// It is durable and only this replica's reader is late: that is a success.
func TestAppendAppliedLate(t *testing.T) {
	log := &Memory{}
	r := start(t, Config{Log: log, MaxAge: time.Hour}).synced(t)
	log.Fail(func(op Op, _ uint64) error {
		if op == OpRead {
			return errors.New("reading is cut off")
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	n, _, err := r.Append(ctx, revoke("s1"))
	if err != nil || n != 3 || r.has("s1") {
		t.Fatal(n, err)
	}
	log.Fail(nil)
	r.await(t, "applied", func(Status) bool { return r.has("s1") })
}

// Two replicas write at once: each record has one place, and both end equal.
func TestTwoReplicas(t *testing.T) {
	const each = 100
	log := &Memory{}
	a := start(t, Config{Log: log})
	b := start(t, Config{Log: log})
	a.synced(t)
	b.synced(t)
	var mu sync.Mutex
	numbers := make(map[uint64]string)
	var w sync.WaitGroup
	for name, r := range map[string]*replica{"a": a, "b": b} {
		for worker := range 4 {
			w.Go(func() {
				for i := range each / 4 {
					sid := fmt.Sprint(name, worker, "-", i)
					n, _, err := r.Append(t.Context(), revoke(sid))
					mu.Lock()
					if err != nil || numbers[n] != "" {
						t.Errorf("%s: record %d (also %q): %v", sid, n, numbers[n], err)
					}
					numbers[n] = sid
					mu.Unlock()
					if !r.has(sid) {
						t.Errorf("%s is acknowledged and not applied", sid)
					}
				}
			})
		}
	}
	w.Wait()
	last, err := log.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*replica{a, b} {
		r.await(t, "everything", func(s Status) bool { return s.Number >= last })
		r.stop()
		for n, sid := range numbers {
			if r.sids[sid] != n {
				t.Errorf("%s is in record %d, not %d", sid, r.sids[sid], n)
			}
		}
		if r.index.Count(cache.Session) != 2*each {
			t.Errorf("%d revocations", r.index.Count(cache.Session))
		}
	}
	if a.Status().Epoch != b.Status().Epoch {
		t.Error("two feeds")
	}
	t.Logf("conflicts: %d and %d", a.Status().Conflicts, b.Status().Conflicts)
}

// The log is closed under a feed that runs.
func TestLogClosed(t *testing.T) {
	log := &Memory{}
	r := start(t, Config{Log: log, MaxAge: time.Hour}).synced(t)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	r.await(t, "cut off", func(s Status) bool { return !s.Connected })
	if _, _, err := r.Append(t.Context(), revoke("s1")); !errors.Is(err, ErrNotDurable) {
		t.Errorf("append: %v", err)
	}
}

// spoiling is a log whose reader is given every record with a bit flipped,
// once it is on; what it stores is right.
type spoiling struct {
	*Memory
	on atomic.Bool
}

func (l *spoiling) Read(ctx context.Context, after uint64, fn func(number uint64, record []byte) error) error {
	return l.Memory.Read(ctx, after, func(number uint64, record []byte) error {
		if l.on.Load() {
			record = bytes.Clone(record)
			record[len(record)-1] ^= 1
		}
		return fn(number, record)
	})
}

// TestStoredBehindABreak: a record that the log has taken, and that this
// replica can not follow, is not acknowledged as enforced.
func TestStoredBehindABreak(t *testing.T) {
	log := &spoiling{Memory: &Memory{}}
	r := start(t, Config{Log: log, MaxAge: time.Minute}).synced(t)
	if err := r.Confirm(t.Context()); err != nil {
		t.Fatalf("confirm while all is well: %v", err)
	}
	log.on.Store(true)
	if _, _, err := r.Append(t.Context(), revoke("s")); !errors.Is(err, ErrNotDurable) {
		t.Errorf("append: %v, want not durable", err)
	}
	if r.has("s") || r.sync.Broken() == "" {
		t.Errorf("applied %v, broken %q", r.has("s"), r.sync.Broken())
	}
}

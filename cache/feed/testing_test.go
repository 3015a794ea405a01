package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

// revoke is a revocation of a session, by its sid.
func revoke(sid string) cache.Event {
	return cache.Event{
		Op: cache.OpRevoke, Kinds: cache.Session,
		Key:    cache.KeyOf(cache.Session, "https://idp.example", sid),
		Before: time.Unix(1_700_000_000, 0).UTC(), Until: time.Unix(4_000_000_000, 0).UTC(),
		Issuer: "https://idp.example", Value: sid,
	}
}

// lift ends the revocation of a session.
func lift(sid string, ref cache.Ref) cache.Event {
	e := revoke(sid)
	e.Op, e.Lifts, e.Before, e.Until = cache.OpLift, ref, time.Time{}, time.Time{}
	return e
}

// applied is what a replica was given, by its feed.
type applied struct {
	mu      sync.Mutex
	numbers []uint64
	sids    map[string]uint64 // revoked, and in which record
	twice   []uint64          // numbers that did not rise by one
}

func (a *applied) apply(number uint64, _ time.Time, events []cache.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if number != uint64(len(a.numbers))+1 {
		a.twice = append(a.twice, number)
	}
	a.numbers = append(a.numbers, number)
	for _, e := range events {
		if e.Op == cache.OpRevoke {
			a.sids[e.Value] = number
		}
	}
}

func (a *applied) has(sid string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sids[sid] != 0
}

// replica is a feed that runs, with all that belongs to it.
type replica struct {
	*Feed
	applied
	index *cache.Index
	sync  *cache.Sync
	said  *journal
	stop  func()
}

// journal keeps what was logged.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (r *journal) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, string(b))
	return len(b), nil
}

func (r *journal) count(text string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// start runs a feed on a log until the test ends or stop is called.
func start(t testing.TB, cfg Config) *replica {
	t.Helper()
	r := &replica{index: cache.NewIndex(), sync: &cache.Sync{}, said: &journal{}}
	r.sids = make(map[string]uint64)
	if cfg.Key == nil {
		cfg.Key = testKey
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = time.Second
	}
	cfg.Sync = r.sync
	cfg.Logger = slog.New(slog.NewTextHandler(r.said, nil))
	cfg.Apply = func(number uint64, at time.Time, events []cache.Event) {
		r.apply(number, at, events)
		r.index.Apply(number, at, events)
	}
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Feed = f
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("Run: %v", err)
			}
			if r.twice != nil {
				t.Errorf("numbers applied out of turn: %v", r.twice)
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

// await waits for a state of the feed.
func (r *replica) await(t testing.TB, what string, done func(s Status) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		r.mu2().Lock()
		changed := r.changed
		r.mu2().Unlock()
		if done(r.Status()) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not reached; %s", what, r.state())
		case <-changed:
		}
	}
}

func (r *replica) mu2() *sync.Mutex { return &r.Feed.mu }

func (r *replica) state() string {
	r.said.mu.Lock()
	defer r.said.mu.Unlock()
	return fmt.Sprintf("%+v\n%s", r.Status(), strings.Join(r.said.lines, ""))
}

func (r *replica) synced(t testing.TB) *replica {
	t.Helper()
	r.await(t, "in sync", func(s Status) bool { return s.Synced && s.Broken == "" })
	return r
}

func (r *replica) broken(t testing.TB) string {
	t.Helper()
	r.await(t, "broken", func(s Status) bool { return s.Broken != "" })
	if h := r.sync.Health(time.Now(), time.Hour); h != cache.Stale {
		t.Fatalf("a broken feed is %v", h)
	}
	return r.Status().Broken
}

func (r *replica) revoke(t testing.TB, sid string) uint64 {
	t.Helper()
	n, _, err := r.Append(context.Background(), revoke(sid))
	if err != nil {
		t.Fatalf("revoke %s: %v; %s", sid, err, r.state())
	}
	return n
}

package feed

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

// A bubble's clock moves only when everybody in it waits, so that hours pass
// at once and no time is approximate.

func health(r *replica) cache.Health { return r.sync.Health(time.Now(), DefaultMaxAge) }

// An idle feed stays fresh by its ticks, and they come every fifth of MaxAge.
func TestIdleFeedIsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &Memory{}
		r := start(t, Config{Log: log, MaxAge: DefaultMaxAge})
		synctest.Wait()
		for range 1000 {
			if age, ok := r.sync.Age(time.Now()); !ok || age > 2200*time.Millisecond {
				t.Fatalf("age %v %v", age, ok)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if n := len(log.Entries()); n < 450 || n > 560 {
			t.Errorf("%d records in 1000 s", n)
		}
		r.stop()
	})
}

// A log that can not be reached is no break, but the replica's age runs.
func TestSilentFeedIsStale(t *testing.T) {
	lost := errors.New("connection lost")
	for name, fail := range map[string]func(op Op, number uint64) error{
		"nothing works": func(Op, uint64) error { return lost },
		"reads are cut off": func(op Op, _ uint64) error {
			if op == OpRead {
				return lost
			}
			return nil
		},
		"writes are cut off": func(op Op, _ uint64) error {
			if op == OpAppend {
				return lost
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &Memory{}
				r := start(t, Config{Log: log, MaxAge: DefaultMaxAge})
				synctest.Wait()
				r.revoke(t, "s1")
				log.Fail(fail)
				time.Sleep(7 * time.Second)
				if h := health(r); h != cache.Fresh {
					t.Errorf("after 7 s: %v", h)
				}
				time.Sleep(3*time.Second + time.Millisecond)
				if h := health(r); h != cache.Stale || r.sync.Broken() != "" {
					t.Errorf("after 10 s: %v %q", h, r.sync.Broken())
				}
				time.Sleep(time.Hour)
				if h := health(r); h != cache.Stale || r.Status().Breaks != 0 {
					t.Errorf("after an hour: %v", h)
				}
				log.Fail(nil)
				time.Sleep(longPause + time.Second)
				synctest.Wait()
				if h := health(r); h != cache.Fresh || !r.has("s1") {
					t.Errorf("afterwards: %v; %s", h, r.state())
				}
				r.stop()
			})
		})
	}
}

// The records of others do not keep a replica fresh that can not write itself:
// they may be old ones that come late.
func TestOthersRecordsProveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &Memory{}
		a := start(t, Config{Log: log, MaxAge: DefaultMaxAge})
		slow := &slowLog{Log: log}
		b := start(t, Config{Log: slow, MaxAge: DefaultMaxAge})
		synctest.Wait()
		slow.delay.Store(int64(15 * time.Second))
		for range 60 {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if health(a) != cache.Fresh || health(b) != cache.Stale {
			t.Errorf("%v, and 15 s behind: %v", health(a), health(b))
		}
		slow.delay.Store(0)
		for range 60 {
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if health(b) != cache.Fresh || b.Status().Number != a.Status().Number {
			t.Errorf("caught up: %v; %s", health(b), b.state())
		}
		a.stop()
		b.stop()
	})
}

// slowLog delivers every record late.
type slowLog struct {
	Log
	delay atomic.Int64
}

func (l *slowLog) Read(ctx context.Context, after uint64, fn func(uint64, []byte) error) error {
	return l.Log.Read(ctx, after, func(number uint64, b []byte) error {
		if !sleep(ctx, time.Duration(l.delay.Load())) {
			return ctx.Err()
		}
		return fn(number, b)
	})
}

// A replica is not ready before it has read everything and written once.
func TestNotReadyDuringReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &Memory{}
		a := start(t, Config{Log: log, MaxAge: DefaultMaxAge})
		synctest.Wait()
		for range 5 {
			a.revoke(t, "s")
		}
		a.stop()
		slow := &slowLog{Log: log}
		slow.delay.Store(int64(time.Second))
		b := start(t, Config{Log: slow, MaxAge: DefaultMaxAge})
		for i := range 7 {
			synctest.Wait()
			if h := health(b); h != cache.NotReady || b.sync.Number() != uint64(i) {
				t.Errorf("after %d s: %v at record %d", i, h, b.sync.Number())
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if h := health(b); h != cache.Fresh || b.sync.Number() != 8 {
			t.Errorf("%v at record %d", h, b.sync.Number())
		}
		b.stop()
	})
}

// A break holds for as long as the log is not whole, however long, and is said
// once.
func TestBreakStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &Memory{}
		r := start(t, Config{Log: log, MaxAge: DefaultMaxAge})
		synctest.Wait()
		r.revoke(t, "s1")
		var good []Entry
		log.Edit(func(e []Entry) []Entry { good = e; return nil })
		time.Sleep(time.Minute)
		for range 60 {
			if h := health(r); h != cache.Stale || r.sync.Broken() == "" {
				t.Fatal(h)
			}
			time.Sleep(time.Minute)
		}
		if n := r.said.count("feed is broken; checks"); n != 1 {
			t.Errorf("said %d times; %s", n, r.state())
		}
		log.Edit(func([]Entry) []Entry { return good })
		time.Sleep(longPause + time.Second)
		synctest.Wait()
		if h := health(r); h != cache.Fresh || !r.has("s1") {
			t.Errorf("whole again: %v; %s", h, r.state())
		}
		r.stop()
	})
}

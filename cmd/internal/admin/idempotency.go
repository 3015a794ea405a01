package admin

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

// An Idempotency-Key holds for a day (contract §10). The table is bounded: past
// its size the oldest keys are forgotten, and a repeat then revokes again,
// which denies no more than the first did.
const (
	keepRequests = 24 * time.Hour
	maxRequests  = 1 << 17
	maxKeyBytes  = 255
)

// requests remembers which record answered which Idempotency-Key. It is filled
// from the feed, so that it is the same on every replica and after a restart.
type requests struct {
	mu    sync.Mutex
	seen  map[cache.Key]answered
	order []cache.Key              // oldest first
	busy  map[cache.Key]chan empty // keys whose first request is still being stored
}

type empty = struct{}

// answered is where the revocations of one request stand in the feed.
type answered struct {
	content cache.Key // digest of the request's body
	first   cache.Ref
	count   int
	at      time.Time
}

func newRequests() *requests {
	return &requests{seen: make(map[cache.Key]answered), busy: make(map[cache.Key]chan empty)}
}

// note takes the keys out of a record. The first use of a key counts. early
// says that keys were forgotten before their day was over.
func (q *requests) note(number uint64, at time.Time, events []cache.Event, now time.Time) (early bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	early = q.forget(now)
	if now.Sub(at) > keepRequests {
		return early
	}
	for i := range events {
		e := &events[i]
		if e.Request == (cache.Key{}) || e.Op != cache.OpRevoke {
			continue
		}
		a, ok := q.seen[e.Request]
		switch {
		case !ok:
			q.order = append(q.order, e.Request)
			a = answered{content: e.Content, first: cache.Ref{Number: number, Place: uint32(i)}, at: at} //nolint:gosec // i < cache.MaxEvents
			fallthrough
		case a.first.Number == number && int(a.first.Place)+a.count == i:
			a.count++
			q.seen[e.Request] = a
		}
	}
	return early
}

func (q *requests) forget(now time.Time) (early bool) {
	for len(q.order) > 0 {
		oldest := q.order[0]
		young := now.Sub(q.seen[oldest].at) <= keepRequests
		if len(q.order) <= maxRequests && young {
			break
		}
		early = early || young
		delete(q.seen, oldest)
		q.order = q.order[1:]
	}
	return early
}

// begin waits until no other request with this key is under way, and gives
// what one before has stored. done must be called unless err is set.
func (q *requests) begin(ctx context.Context, key cache.Key, now time.Time) (was answered, found bool, done func(), err error) {
	for {
		q.mu.Lock()
		other, taken := q.busy[key]
		if !taken {
			break
		}
		q.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return answered{}, false, nil, context.Cause(ctx)
		}
	}
	defer q.mu.Unlock()
	mine := make(chan empty)
	q.busy[key] = mine
	was, found = q.look(key, now)
	return was, found, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.busy, key)
		close(mine)
	}, nil
}

// find gives what a request with this key has stored, at any replica, as far as
// the feed is applied here.
func (q *requests) find(key cache.Key, now time.Time) (answered, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.look(key, now)
}

func (q *requests) look(key cache.Key, now time.Time) (answered, bool) {
	was, found := q.seen[key]
	return was, found && now.Sub(was.at) <= keepRequests
}

// requestKey reads the Idempotency-Key; zero where there is none.
func requestKey(r *request) (cache.Key, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return cache.Key{}, nil
	}
	if len(values) > 1 || values[0] == "" || len(values[0]) > maxKeyBytes {
		return cache.Key{}, invalid("Idempotency-Key is one value of 1 to %d characters", maxKeyBytes)
	}
	return digest("holdfast idempotency key\x00", []byte(values[0])), nil
}

func digest(domain string, content []byte) cache.Key {
	h := sha256.New()
	h.Write([]byte(domain))
	h.Write(content)
	return cache.Key(h.Sum(nil)[:len(cache.Key{})])
}

package statuslist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Times of fetching. A ttl of a second would be a burden on the issuer, and
// one of a year would keep a withdrawn token for that long (section 11.5).
const (
	usualTTL = 5 * time.Minute // where the list names none
	leastTTL = 10 * time.Second
	mostTTL  = 12 * time.Hour
	unknown  = 24 * time.Hour // how long a list without exp is in force

	firstPause = time.Second // after a failure, doubled each time
	longPause  = time.Minute
)

// entry keeps one list.
type entry struct {
	store  *Store
	name   name
	source *Source
	log    *slog.Logger
	client *http.Client

	held       atomic.Pointer[held]
	ok, failed atomic.Uint64

	mu        sync.Mutex
	lastError string
	said      string // the failure that was last logged
}

// held is a list in force and when it came, with the monotonic clock.
type held struct {
	list *List
	at   time.Time
}

// current is the list, if it is in force at now.
func (e *entry) current(now time.Time) *List {
	h := e.held.Load()
	switch {
	case h == nil:
		return nil
	case h.list.expires.IsZero() && now.Sub(h.at) > unknown:
		return nil
	case !h.list.expires.IsZero() && !now.Before(h.list.expires):
		return nil
	}
	return h.list
}

// run fetches the list when it is due, until ctx ends.
func (e *entry) run(ctx context.Context) {
	pause := firstPause
	for {
		next := pause
		if err := e.refresh(ctx); err == nil {
			pause, next = firstPause, e.ttl()
		} else {
			pause = min(2*pause, longPause)
		}
		timer := time.NewTimer(next*3/4 + rand.N(next/4+1)) //nolint:gosec // spreads load, nothing else
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// ttl is when the list is to be fetched again: never after it has expired.
func (e *entry) ttl() time.Duration {
	l := e.held.Load().list
	ttl := l.ttl
	if ttl == 0 {
		ttl = usualTTL
	}
	if !l.expires.IsZero() {
		ttl = min(ttl, time.Until(l.expires)/2)
	}
	return min(max(ttl, leastTTL), mostTTL)
}

// refresh fetches and verifies the list once.
func (e *entry) refresh(ctx context.Context) (err error) {
	select { // one at a time in all: a list may be large
	case e.store.turn <- struct{}{}:
		defer func() { <-e.store.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() {
		if p := recover(); p != nil { // whatever a hostile list makes our code do
			err = fmt.Errorf("panic: %v", p)
		}
		e.settle(ctx, err)
	}()
	raw, err := e.fetch(ctx)
	if err != nil {
		return err
	}
	keys, ok := e.store.c.Keys(e.name.issuer)
	if !ok || keys == nil {
		return errors.New("the issuer's keys are not here yet")
	}
	l, err := read(raw, &expected{
		issuer: e.name.issuer, uri: e.name.uri, algorithms: e.source.Algorithms, keys: keys, now: time.Now(),
	})
	if err != nil {
		return err
	}
	if h := e.held.Load(); h != nil && l.issued.Before(h.list.issued) {
		return fmt.Errorf("it was issued at %v, before the one in force", l.issued.UTC())
	}
	e.held.Store(&held{l, time.Now()})
	return nil
}

// fetch gets the list's text (sections 8.1 and 8.2).
func (e *entry) fetch(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, e.store.c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.name.uri, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept", "application/statuslist+jwt")
	res, err := e.client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the answer is %s", res.Status)
	}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || kind != "application/statuslist+jwt" {
		return "", fmt.Errorf("the answer is %.60q, not application/statuslist+jwt", res.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 2*maxToken+1))
	switch {
	case err != nil:
		return "", err
	case len(body) > 2*maxToken:
		return "", fmt.Errorf("the answer is longer than %d MiB", 2*maxToken>>20)
	}
	return strings.TrimSpace(string(body)), nil
}

// settle counts, and says what is news.
func (e *entry) settle(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		return // we are being stopped: nobody's failure
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		e.ok.Add(1)
		if e.ok.Load() == 1 || e.said != "" {
			e.log.Info("status list loaded", "entries", e.held.Load().list.entries())
		}
		e.said = ""
		return
	}
	e.failed.Add(1)
	e.lastError = err.Error()
	if e.said != e.lastError {
		e.said = e.lastError
		e.log.Warn("status list not refreshed", "error", err, "in_force", e.current(time.Now()) != nil)
	}
}

func (l *List) entries() uint64 { return uint64(len(l.data)) * uint64(8/l.bits) }

func (e *entry) describe(now time.Time) Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := Status{Issuer: e.name.issuer, URI: e.name.uri, LastError: e.lastError, OK: e.ok.Load(), Failed: e.failed.Load(), Usable: e.current(now) != nil}
	if h := e.held.Load(); h != nil {
		st.Entries, st.Issued, st.Expires, st.LastSuccess = h.list.entries(), h.list.issued, h.list.expires, h.at
	}
	return st
}

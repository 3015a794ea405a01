package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/feed"
)

// stored is a record that answers a request.
type stored struct {
	number uint64
	place  uint32 // of the first event that belongs to the request
	events []cache.Event
	repeat bool // it was stored by an earlier request with the same key
}

// revoke is POST /v1/revocations: all that is asked for is stored in one
// record, or nothing is.
func (s *Server) revoke(c *Config, w http.ResponseWriter, r *request) error {
	if r.query.Has("kind") || r.query.Has("value") || r.query.Has("issuer") || r.query.Has("limit") || r.query.Has("cursor") {
		return invalid("a revocation is named in the body; the query takes wait and force")
	}
	wait, err := r.wait()
	if err != nil {
		return err
	}
	force, err := r.flag("force")
	if err != nil {
		return err
	}
	key, err := requestKey(r)
	if err != nil {
		return err
	}
	got, array, err := s.take(c, w, r, key, force)
	if err != nil {
		return err
	}
	views := make([]view, len(got.events))
	for i := range got.events {
		ref := cache.Ref{Number: got.number, Place: got.place + uint32(i)} //nolint:gosec // i < cache.MaxEvents
		views[i] = newView(ref, &got.events[i])
		if got.repeat {
			// What was lifted since stays lifted, and whoever repeats is told.
			views[i].ended = s.ended(c, ref, &got.events[i])
		}
	}
	if wait > 0 {
		reached := s.reached(r.Context(), c, got.number, wait)
		reached.TookMS = ceilMilliseconds(s.now().Sub(r.began))
		for i := range views {
			views[i].reach = &reached
		}
	}
	if got.repeat {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	if array {
		writeJSON(w, http.StatusCreated, views)
		return nil
	}
	w.Header().Set("Location", "/v1/revocations/"+views[0].ID)
	writeJSON(w, http.StatusCreated, &views[0])
	return nil
}

// take reads the body and stores it, or finds what an earlier request with the
// same key stored.
func (s *Server) take(c *Config, w http.ResponseWriter, r *request, key cache.Key, force bool) (got stored, array bool, err error) {
	// A large body takes one of few places, so that memory is bounded; a small
	// one never has to wait for those who are slow.
	if r.ContentLength < 0 || r.ContentLength > smallBody {
		select {
		case s.bodies <- struct{}{}:
			defer func() { <-s.bodies }()
		case <-r.Context().Done():
			return got, false, unavailable("overloaded", "too many large requests at once")
		}
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return got, false, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), appendLimit)
	defer cancel()
	content := digest("holdfast request body\x00", body)
	if key == (cache.Key{}) {
		events, array, err := s.asked(c, r, body, force)
		if err != nil {
			return got, false, err
		}
		got, err = s.store(ctx, c, r, nil, events)
		return got, array, err
	}
	was, found, done, err := s.requests.begin(ctx, key, r.began)
	if err != nil {
		return got, false, unavailable("overloaded", "another request with this Idempotency-Key is still being stored")
	}
	defer done()
	if !found {
		events, array, err := s.asked(c, r, body, force)
		if err != nil {
			return got, false, err
		}
		for i := range events {
			events[i].Request, events[i].Content = key, content
		}
		// Another replica may have stored it a moment ago.
		unless := func() bool {
			was, found = s.requests.find(key, r.began)
			return found
		}
		if got, err = s.store(ctx, c, r, unless, events); !errors.Is(err, feed.ErrForestalled) {
			return got, array, err
		}
	}
	// What was met in the feed may be what an append without an answer left there.
	if err := c.Confirm(ctx); err != nil {
		s.log.Error("revocation not confirmed", "err", err)
		return got, false, unavailable("not_durable", "the feed can not store it durably now; it must be taken as not done")
	}
	got, err = s.again(ctx, c, was, content)
	return got, firstByte(body) == '[', err
}

// asked reads what is to be stored.
func (s *Server) asked(c *Config, r *request, body []byte, force bool) (events []cache.Event, array bool, err error) {
	o, err := decodeOrder(body)
	if err == nil {
		events, err = o.events(c, c.wallClock(r.began), force)
	}
	if err != nil {
		c.count("invalid", "refused", 1)
		return nil, false, err
	}
	return events, o.array, nil
}

// again finds what an earlier request with the same key stored.
func (s *Server) again(ctx context.Context, c *Config, was answered, content cache.Key) (stored, error) {
	if was.content != content {
		return stored{}, &problem{Status: http.StatusConflict, Code: "idempotency_key_reused",
			Detail: "this Idempotency-Key was used with another body; nothing was stored"}
	}
	_, events, err := c.Events(ctx, was.first.Number)
	from, to := int(was.first.Place), int(was.first.Place)+was.count
	if err != nil || to > len(events) {
		s.log.Warn("can not read back a revocation", "record", was.first.Number, "err", err)
		return stored{}, unavailable("feed_unreadable", "the revocation is stored, but the feed can not be read now")
	}
	return stored{number: was.first.Number, place: was.first.Place, events: events[from:to], repeat: true}, nil
}

// store appends one record. Its events are in force here when it returns nil.
func (s *Server) store(ctx context.Context, c *Config, r *request, unless func() bool, events []cache.Event) (stored, error) {
	number, at, err := c.Append(ctx, unless, events...)
	switch {
	case errors.Is(err, feed.ErrForestalled):
		return stored{}, err
	case err != nil:
		s.log.Error("revocation not stored", "count", len(events), "kind", kindOf(events), "actor", actor, "peer", r.RemoteAddr, "err", err)
		c.countAll(events, "not_durable")
		return stored{}, unavailable("not_durable", "the feed can not store it durably now; it must be taken as not done")
	}
	// The feed's Apply has done the same; this is for a feed that applies late.
	s.requests.note(number, at, events, s.now())
	c.countAll(events, "stored")
	first, last := cache.Ref{Number: number}, cache.Ref{Number: number, Place: uint32(len(events) - 1)} //nolint:gosec // at most cache.MaxEvents
	// The audit record: who, what kind, why. The value stays in the feed.
	s.log.Info("revocation stored", "id", first.String(), "last", last.String(), "count", len(events), "kind", kindOf(events),
		"issuer", escaped(events[0].Issuer), "reason", escaped(events[0].Reason), "actor", actor, "peer", r.RemoteAddr)
	return stored{number: number, events: events}, nil
}

// ceilMilliseconds rounds up: what took some time did not take none.
func ceilMilliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

func (c *Config) count(kind, result string, n int) {
	if c.Count == nil {
		return
	}
	for range n {
		c.Count(kind, result)
	}
}

func (c *Config) countAll(events []cache.Event, result string) {
	for i := range events {
		kind := events[i].Kinds.String()
		if events[i].Op == cache.OpLift {
			kind = "lift"
		}
		c.count(kind, result, 1)
	}
}

// kindOf names what events have in common, for the log.
func kindOf(events []cache.Event) string {
	for i := range events {
		if events[i].Kinds != events[0].Kinds {
			return "several"
		}
	}
	return events[0].Kinds.String()
}

// escaped makes text that came from outside safe to print: one line, ASCII.
func escaped(text string) string {
	quoted := strconv.QuoteToASCII(text)
	return quoted[1 : len(quoted)-1]
}

func firstByte(body []byte) byte {
	if trimmed := strings.TrimLeft(string(body[:min(len(body), 64)]), " \t\r\n"); trimmed != "" {
		return trimmed[0]
	}
	return 0
}

func pointerTo(i int) string { return "/" + strconv.Itoa(i) }

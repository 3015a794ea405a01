package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/feed"
)

// Pages of GET /v1/revocations (contract §10).
const (
	defaultPage = 100
	maxPage     = 1000
	maxScan     = 20 * maxPage // looked through for one page where a filter asks for it
)

// view is a revocation as the API shows it.
type view struct {
	ID        string    `json:"id"`
	Seq       uint64    `json:"seq"`
	Kind      string    `json:"kind"`
	Value     string    `json:"value"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	Expires   time.Time `json:"expires"`
	Reason    string    `json:"reason"`

	ended    // of a GET, and of a POST that was a repeat
	*reach   // of a POST that waited
	*history // of a GET
}

// ended says that a revocation is no longer in force.
type ended struct {
	Lifted  *time.Time `json:"lifted,omitempty"`
	Expired bool       `json:"expired,omitempty"`
}

// history is what has become of a revocation.
type history struct {
	Created  time.Time `json:"created"`
	Actor    string    `json:"actor"`
	Enforced enforced  `json:"enforced"`
}

// enforced is the evidence that a revocation took effect, at all replicas.
type enforced struct {
	Count uint64     `json:"count"`
	First *time.Time `json:"first"`
	Last  *time.Time `json:"last"`
}

func newView(ref cache.Ref, e *cache.Event) view {
	return view{
		ID: ref.String(), Seq: ref.Number, Kind: e.Kinds.String(), Value: e.Value, Issuer: e.Issuer,
		NotBefore: e.Before.UTC(), Expires: e.Until.UTC(), Reason: e.Reason,
	}
}

func (s *Server) viewWithHistory(c *Config, ref cache.Ref, e *cache.Event, at time.Time) view {
	v := newView(ref, e)
	h := &history{Created: at.UTC(), Actor: e.Actor}
	if got := c.Enforced(ref); got.Count > 0 {
		first, last := got.First.UTC().Round(0), got.Last.UTC().Round(0)
		h.Enforced = enforced{Count: got.Count, First: &first, Last: &last}
	}
	v.history, v.ended = h, s.ended(c, ref, e)
	return v
}

func (s *Server) ended(c *Config, ref cache.Ref, e *cache.Event) ended {
	if lift, ok := c.Index.Lifted(ref); ok {
		at := lift.At.UTC()
		return ended{Lifted: &at}
	}
	// Its memory may be given back later.
	return ended{Expired: !c.Index.Has(e.Key, ref) || e.Until.Before(s.now())}
}

// synced refuses to speak of revocations before the feed was read to its end:
// what is missing then may be there.
func (s *Server) synced(c *Config) error {
	if c.Sync.Health(s.now(), c.MaxAge) == cache.NotReady {
		return unavailable("not_ready", "the feed has not been read to its end yet")
	}
	return nil
}

// lookup finds the revocation that the path names.
func (s *Server) lookup(c *Config, r *request) (ref cache.Ref, e cache.Event, at time.Time, err error) {
	if err := s.synced(c); err != nil {
		return ref, e, at, err
	}
	unknown := notFound("there is no revocation with this id")
	ref, bad := cache.ParseRef(r.rest)
	if bad != nil || ref.Number > c.Sync.Number() {
		return ref, e, at, unknown
	}
	at, events, err := s.read(r.Context(), c, ref.Number)
	if err != nil {
		return ref, e, at, err
	}
	if uint64(ref.Place) >= uint64(len(events)) || events[ref.Place].Op != cache.OpRevoke {
		return ref, e, at, unknown
	}
	return ref, events[ref.Place], at, nil
}

func (s *Server) read(ctx context.Context, c *Config, number uint64) (time.Time, []cache.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	at, events, err := c.Events(ctx, number)
	switch {
	case err == nil:
		return at, events, nil
	case errors.Is(err, feed.ErrNoRecord):
		return at, nil, notFound("there is no revocation with this id, or it was forgotten after its end")
	}
	s.log.Warn("can not read a record of the feed", "record", number, "err", err)
	return at, nil, unavailable("feed_unreadable", "the feed can not be read now")
}

// get is GET /v1/revocations/{id}.
func (s *Server) get(c *Config, w http.ResponseWriter, r *request) error {
	ref, e, at, err := s.lookup(c, r)
	if err != nil {
		return err
	}
	v := s.viewWithHistory(c, ref, &e, at)
	writeJSON(w, http.StatusOK, &v)
	return nil
}

// lift is DELETE /v1/revocations/{id}. What has ended already stays ended.
func (s *Server) lift(c *Config, w http.ResponseWriter, r *request) error {
	wait, err := r.wait()
	if err != nil {
		return err
	}
	ref, e, _, err := s.lookup(c, r)
	if err != nil {
		return err
	}
	number := ref.Number
	if c.Index.Has(e.Key, ref) {
		ctx, cancel := context.WithTimeout(r.Context(), appendLimit)
		defer cancel()
		got, err := s.storeLift(ctx, c, r, ref, &e)
		if err != nil {
			return err
		}
		number = got
	}
	if wait > 0 {
		// The answer has no body.
		far := s.reached(r.Context(), c, number, wait)
		w.Header().Set("Holdfast-Replicas", strconv.Itoa(far.Replicas))
		w.Header().Set("Holdfast-Applied", strconv.Itoa(far.Applied))
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) storeLift(ctx context.Context, c *Config, r *request, ref cache.Ref, e *cache.Event) (uint64, error) {
	events := []cache.Event{{Op: cache.OpLift, Kinds: e.Kinds, Key: e.Key, Lifts: ref, Issuer: e.Issuer, Value: e.Value, Members: e.Members, Actor: actor}}
	number, _, err := c.Append(ctx, nil, events...)
	if err != nil {
		s.log.Error("revocation not lifted", "id", ref.String(), "actor", actor, "peer", r.RemoteAddr, "err", err)
		c.countAll(events, "not_durable")
		return 0, unavailable("not_durable", "the feed can not store it durably now; the revocation must be taken as in force")
	}
	c.countAll(events, "stored")
	s.log.Info("revocation lifted", "id", ref.String(), "kind", e.Kinds.String(), "actor", actor, "peer", r.RemoteAddr)
	return number, nil
}

// page is a list's answer.
type page struct {
	Items      []view `json:"items"`
	Next       string `json:"next,omitempty"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// filter is what GET /v1/revocations was asked for.
type filter struct {
	kinds         cache.Kinds
	value, issuer string
	after         cache.Ref
	limit         int
}

func (r *request) filter() (f filter, err error) {
	for _, kind := range cache.AllKinds() {
		f.kinds |= kind
	}
	q := r.query
	if q.Has("wait") || q.Has("force") {
		return f, invalid("a list takes kind, value, issuer, limit and cursor")
	}
	f.value, f.issuer, f.limit = q.Get("value"), q.Get("issuer"), defaultPage
	if q.Has("kind") {
		if f.kinds, err = cache.ParseKind(q.Get("kind")); err != nil {
			return f, invalid("kind is not one of %s", kindWords())
		}
	}
	if q.Has("limit") {
		if f.limit, err = strconv.Atoi(q.Get("limit")); err != nil || f.limit < 1 || f.limit > maxPage {
			return f, invalid("limit is a number from 1 to %d", maxPage)
		}
	}
	if q.Get("cursor") != "" {
		if f.after, err = cache.ParseRef(q.Get("cursor")); err != nil {
			return f, invalid("cursor is not one that a list gave as next")
		}
	}
	for _, name := range []string{"value", "issuer"} {
		if q.Has(name) && q.Get(name) == "" {
			return f, invalid("%s is empty", name)
		}
	}
	return f, nil
}

// list is GET /v1/revocations: those in force, in the order of the feed.
func (s *Server) list(c *Config, w http.ResponseWriter, r *request) error {
	f, err := r.filter()
	if err != nil {
		return err
	}
	if err := s.synced(c); err != nil {
		return err
	}
	out := page{Items: []view{}}
	var events []cache.Event
	var at time.Time
	for read, last, scanned := uint64(0), f.after, 0; ; {
		refs := f.candidates(c, last)
		for _, ref := range refs {
			if len(out.Items) == f.limit || scanned >= maxScan {
				out.Next, out.NextCursor = last.String(), last.String()
				writeJSON(w, http.StatusOK, &out)
				return nil
			}
			if ref.Number != read {
				if at, events, err = s.read(r.Context(), c, ref.Number); err != nil {
					return err
				}
				read = ref.Number
			}
			last, scanned = ref, scanned+1
			// One that was lifted or has ended since is left out.
			if e := &events[ref.Place]; f.takes(e) && c.Index.Has(e.Key, ref) && !e.Until.Before(s.now()) {
				out.Items = append(out.Items, s.viewWithHistory(c, ref, e, at))
			}
		}
		if len(refs) == 0 {
			writeJSON(w, http.StatusOK, &out)
			return nil
		}
	}
}

func (f *filter) takes(e *cache.Event) bool {
	return e.Op == cache.OpRevoke && e.Kinds&f.kinds != 0 && (f.issuer == "" || f.issuer == e.Issuer) && (f.value == "" || f.value == e.Value)
}

// candidates are the next revocations after one that may fit the filter. By
// value they are found by their digests, under the issuers that are configured.
func (f *filter) candidates(c *Config, after cache.Ref) []cache.Ref {
	if f.value == "" {
		return c.Index.List(f.kinds, after, f.limit+1)
	}
	issuers := []string{f.issuer}
	if f.issuer == "" {
		for i := range c.Issuers {
			issuers = append(issuers, c.Issuers[i].Name)
		}
	}
	var refs []cache.Ref
	for _, kind := range cache.AllKinds() {
		if kind&f.kinds == 0 {
			continue
		}
		for _, issuer := range issuers {
			for _, ref := range c.Index.Refs(cache.KeyOf(kind, issuer, f.value)) {
				if ref.Compare(after) > 0 {
					refs = append(refs, ref)
				}
			}
			if !kind.InIssuer() {
				break
			}
		}
	}
	slices.SortFunc(refs, cache.Ref.Compare)
	return slices.Compact(refs)
}

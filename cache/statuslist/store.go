// Package statuslist keeps Token Status Lists in memory
// (draft-ietf-oauth-status-list): for each token that names one, whether its
// issuer still calls it valid.
//
// A list is fetched in the background, never inside a check, and from the
// moment on when the first verified token names it: [Store.Valid] then says
// that it does not know, and wants it. Only lists under the issuer's configured
// prefixes are, and only so many; so a token, which is its sender's, chooses
// nothing that is asked for. Neither the token nor its index ever leaves.
//
// A list is in force until its exp, or for 24 hours where it has none, and is
// fetched anew when its ttl is over, within bounds. While its host is down, or
// gives what does not verify, the last good one stays. An older list (by iat)
// than the one in force is not taken: a cache on the way may have kept it.
//
// Only lists in JWT form are read; CWT is not.
package statuslist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-authz/holdfast/cache/dial"
	"github.com/holdfast-authz/holdfast/cache/jose"
)

// maxLists is how many lists of one issuer are kept: a full one has 16 MiB.
const maxLists = 16

// Source is one issuer whose tokens may name lists.
type Source struct {
	Issuer     string
	URIs       []string // prefixes of lists' URIs: scheme, host and the beginning of the path
	Algorithms []string // of the lists' signatures, in the spelling of jose.Algorithm
}

// Config of a Store.
type Config struct {
	Sources []Source
	Keys    func(issuer string) (*jose.KeySet, bool) // those that verify the issuer's tokens
	Timeout time.Duration                            // of one fetch; 0: 10s
	Logger  *slog.Logger                             // nil: silent
}

// Store holds the lists. Valid is for the checks: any number of goroutines, no
// lock, no allocation, no waiting.
type Store struct {
	c       Config
	sources map[string]*Source
	lists   atomic.Pointer[map[name]*entry]
	wanted  chan name     // those that are to be added, by Run
	turn    chan struct{} // holds the right to fetch: one list at a time
}

// name is a list of an issuer.
type name struct{ issuer, uri string }

// New checks the configuration.
func New(c Config) (*Store, error) {
	if c.Keys == nil {
		return nil, errors.New("status lists: no keys to verify them with")
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{c: c, sources: map[string]*Source{}, wanted: make(chan name, 64), turn: make(chan struct{}, 1)}
	s.lists.Store(&map[name]*entry{})
	for i := range c.Sources {
		src := &c.Sources[i]
		for _, prefix := range src.URIs {
			if err := CheckPrefix(prefix); err != nil {
				return nil, fmt.Errorf("status lists of %q: %w", src.Issuer, err)
			}
		}
		s.sources[src.Issuer] = src
	}
	return s, nil
}

// CheckPrefix tells whether lists may be allowed by a prefix: a whole URL of
// theirs, or the beginning of one that names scheme and host.
func CheckPrefix(prefix string) error {
	u, err := dial.ParseURL(prefix)
	switch {
	case err != nil:
		return err
	case strings.Contains(prefix, "?") || !plain(u):
		return fmt.Errorf("prefix %q has a query, or its path can be read in two ways", prefix)
	}
	return nil
}

// allowed tells whether a URI is below one of the prefixes, as a text and as
// what will be asked for.
func (src *Source) allowed(uri string) bool {
	u, err := dial.ParseURL(uri)
	if err != nil || !plain(u) {
		return false
	}
	for _, prefix := range src.URIs {
		rest, ok := strings.CutPrefix(uri, prefix)
		// The host ends where the prefix does only if it has a path.
		if ok && (strings.Count(prefix, "/") > 2 || strings.HasPrefix(rest, "/")) {
			return true
		}
	}
	return false
}

// plain refuses a path that a server may take for another one.
func plain(u *url.URL) bool {
	path := strings.ToLower(u.EscapedPath())
	for _, odd := range []string{"%2e", "%2f", "%5c", "%25", "\\", "//", "/./", "/../"} {
		if strings.Contains(path, odd) {
			return false
		}
	}
	return !strings.HasSuffix(path, "/.") && !strings.HasSuffix(path, "/..")
}

// Valid tells whether a token's status is VALID. known is false while the list
// is not here or no longer in force; then nobody can say.
func (s *Store) Valid(issuer, uri string, index uint64) (valid, known bool) {
	e := (*s.lists.Load())[name{issuer, uri}]
	if e == nil {
		s.want(issuer, uri)
		return false, false
	}
	l := e.current(time.Now())
	if l == nil {
		return false, false
	}
	return l.Valid(index), true
}

// want asks for a list that is not here, if it may.
func (s *Store) want(issuer, uri string) {
	if src := s.sources[issuer]; src == nil || !src.allowed(uri) {
		return
	}
	select {
	// A copy: the text is that of a request.
	case s.wanted <- name{issuer, strings.Clone(uri)}:
	default: // the next token that names it asks again
	}
}

// Run fetches lists until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	var each sync.WaitGroup
	defer each.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-s.wanted:
			if e := s.add(n); e != nil {
				each.Go(func() { e.run(ctx) })
			}
		}
	}
}

// add makes room for a list; nil where it is there or there is none.
func (s *Store) add(n name) *entry {
	old := *s.lists.Load()
	count := 0
	for have := range old {
		if have == n {
			return nil
		}
		if have.issuer == n.issuer {
			count++
		}
	}
	if count >= maxLists {
		s.c.Logger.Warn("a status list is not kept: the issuer's tokens name too many", "issuer", n.issuer, "uri", n.uri, "most", maxLists)
		return nil
	}
	u, err := dial.ParseURL(n.uri)
	if err != nil {
		return nil
	}
	e := &entry{
		store: s, name: n, source: s.sources[n.issuer], log: s.c.Logger.With("issuer", n.issuer, "uri", n.uri),
		client: dial.Client(dial.Config{URL: u, Timeout: s.c.Timeout, Compressed: true}),
	}
	next := make(map[name]*entry, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	next[n] = e
	s.lists.Store(&next)
	return e
}

// Status is how it goes with one list, for people.
type Status struct {
	Issuer string `json:"issuer"`
	URI    string `json:"uri"`

	Usable      bool      `json:"usable"`
	Entries     uint64    `json:"entries"` // tokens that it has room for
	Issued      time.Time `json:"issued,omitzero"`
	Expires     time.Time `json:"expires,omitzero"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	LastError   string    `json:"last_error,omitempty"`
	OK          uint64    `json:"ok"`
	Failed      uint64    `json:"failed"`
}

// Status lists what is kept.
func (s *Store) Status() (all []Status) {
	now := time.Now()
	for _, e := range *s.lists.Load() {
		all = append(all, e.describe(now))
	}
	return all
}

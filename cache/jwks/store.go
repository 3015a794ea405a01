// Package jwks keeps the verification keys of every configured issuer in
// memory, so that a check never waits for a network or a disk.
//
// Each issuer has one source: a file, a JWK Set URL, or discovery at the issuer
// itself (OpenID Connect Discovery 1.0 and RFC 8414). One goroutine a source,
// all of them owned by [Store.Run], fetches and parses it beside the checks and
// swaps an immutable key set in. Whatever goes wrong with a fetch, the last
// good set stays in force until it is older than MaxStale; then the issuer has
// no keys, and its tokens are keys_unavailable. A new set replaces the old one
// whole: a key that is missing from it is gone at once.
//
// How soon a change is seen: a withdrawn key within Refresh, a rewritten file
// within a second, a new key as soon as a token with its kid asks for it (see
// [Store.Wanted]), which anyone can do and which is therefore rationed.
//
// The fetcher trusts nobody: see fetch.go for its limits and package dial for
// the addresses it refuses.
package jwks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

const (
	defaultRefresh  = 5 * time.Minute
	minRefresh      = time.Second // contract 10, Keys
	defaultMaxStale = 24 * time.Hour
	defaultTimeout  = 5 * time.Second
)

// Config says whose keys to keep. Its zero value keeps none.
type Config struct {
	Sources []Source
	Logger  *slog.Logger // changes of state only; nil discards

	// Timeout bounds one refresh as a whole, discovery included; 0 is 5s.
	Timeout time.Duration

	// Previous hands over the sets of sources that are the same as before a
	// reload, so that reloading while an issuer is down loses nothing.
	Previous *Store
}

// Source is where one issuer's keys come from: exactly one of URL, File and
// Discover.
type Source struct {
	Issuer   string // the exact iss of its tokens
	URL      string // JWK Set; https, or http to a URL whose host is loopback
	File     string // JWK Set on disk, read again when its content changes
	Discover bool   // metadata at the issuer, which must then be such a URL
	Bundle   bool   // the set is a SPIFFE bundle: its keys for JWT-SVIDs count

	Refresh  time.Duration // longest time between two fetches; 0 is 5m, at least 1s
	MaxStale time.Duration // how long a set serves without a good refresh; 0 is 24h
}

// Store holds the sets. KeySet and Wanted are for the checks: any number of
// goroutines, no lock, no allocation, no waiting.
type Store struct {
	sources map[string]*source // read-only after New
	order   []*source          // as configured
}

// New checks the configuration and reports everything that is wrong with it.
// It touches neither network nor disk: Run and Refresh do.
func New(c Config) (*Store, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	s := &Store{sources: make(map[string]*source, len(c.Sources))}
	var errs []error
	if c.Timeout < 0 {
		errs = append(errs, fmt.Errorf("jwks: timeout %s is negative", c.Timeout))
	}
	for _, spec := range c.Sources {
		src, err := newSource(spec, c)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("keys of issuer %q: %w", spec.Issuer, err))
			continue
		case s.sources[spec.Issuer] != nil:
			errs = append(errs, fmt.Errorf("keys of issuer %q: configured twice, name one source only", spec.Issuer))
			continue
		}
		if c.Previous != nil {
			src.adopt(c.Previous.sources[spec.Issuer])
		}
		s.sources[spec.Issuer] = src
		s.order = append(s.order, src)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// validate fills the defaults in.
func (s *Source) validate() error {
	if s.Refresh == 0 {
		s.Refresh = defaultRefresh
	}
	if s.MaxStale == 0 {
		s.MaxStale = max(defaultMaxStale, s.Refresh)
	}
	ways := 0
	for _, used := range []bool{s.URL != "", s.File != "", s.Discover} {
		if used {
			ways++
		}
	}
	switch {
	case s.Issuer == "":
		return errors.New("issuer is empty")
	case ways != 1:
		return errors.New("needs exactly one of a key set URL, a key set file and discovery")
	case s.Refresh < minRefresh:
		return fmt.Errorf("refresh %s is too short, use at least %s", s.Refresh, minRefresh)
	case s.MaxStale < s.Refresh:
		return fmt.Errorf("max stale %s is shorter than refresh %s", s.MaxStale, s.Refresh)
	case s.URL != "":
		return CheckURL(s.URL)
	case s.Discover:
		return CheckIssuerURL(s.Issuer)
	}
	return nil
}

// KeySet is the set in force. ok is false where the issuer is not configured,
// has not been reached yet, or has not been for MaxStale.
func (s *Store) KeySet(issuer string) (set *jose.KeySet, ok bool) {
	src := s.sources[issuer]
	if src == nil {
		return nil, false
	}
	return src.usable(time.Now())
}

// Wanted says that a token named a key which the issuer's set does not have,
// and asks for a refresh in the background. Anyone can make up such a token, so
// refreshes on demand are rationed by issuer: two within half a second, then
// one every five seconds, whatever the rate of asking (see budget). So a key
// that was rotated in is known half a second after the first token that uses
// it, and five seconds at worst while somebody is asking for random ones.
func (s *Store) Wanted(issuer string) {
	if src := s.sources[issuer]; src != nil {
		src.want()
	}
}

// Run keeps all sets up to date until ctx ends, and returns nil when every
// goroutine it started has ended.
func (s *Store) Run(ctx context.Context) error {
	// Spread over a moment, so that a thousand issuers are not a thousand
	// connections at once.
	spread := min(2*time.Second, time.Duration(len(s.order)-1)*5*time.Millisecond)
	var wg sync.WaitGroup
	for _, src := range s.order {
		wg.Go(func() { src.run(ctx, jitter(0, spread)) })
	}
	wg.Wait()
	return nil
}

// Refresh fetches an issuer's keys now, past every cache, and reports how it
// went. Calls at the same time share a fetch. It works without Run.
func (s *Store) Refresh(ctx context.Context, issuer string) error {
	src := s.sources[issuer]
	if src == nil {
		return fmt.Errorf("refresh keys: issuer %q is not configured", issuer)
	}
	return src.refresh(ctx, true)
}

// Load refreshes all issuers at once and reports those that failed: for a
// start that wants to know, and for use without Run.
func (s *Store) Load(ctx context.Context) error {
	errs := make([]error, len(s.order))
	var wg sync.WaitGroup
	for i, src := range s.order {
		wg.Go(func() { errs[i] = src.refresh(ctx, true) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Status describes every issuer, in the order of the configuration.
func (s *Store) Status() []Status {
	now := time.Now()
	out := make([]Status, len(s.order))
	for i, src := range s.order {
		out[i] = src.status(now)
	}
	return out
}

// Ready is true once every source was tried and at least one has usable keys:
// an issuer that is down must not keep the others from being served. why names
// those without keys, also where ok is true.
func (s *Store) Ready() (ok bool, why string) {
	var missing, untried []string
	now := time.Now()
	for _, src := range s.order {
		if _, usable := src.usable(now); usable {
			continue
		}
		missing = append(missing, src.spec.Issuer)
		if src.tried.Load() == 0 {
			untried = append(untried, src.spec.Issuer)
		}
	}
	if len(missing) == 0 {
		return true, ""
	}
	slices.Sort(missing)
	ok = len(untried) == 0 && len(missing) < len(s.order)
	return ok, "no keys for " + strings.Join(missing, ", ")
}

// Package apikeys keeps the API keys of a file in memory. The file has their
// SHA-256, never the keys:
//
//	# keys.yaml
//	- id: reports-2026            # names it in revocations and records
//	  sha256: 8f43…               # of the key: holdfast token hash
//	  client: reports
//	  scopes: [reports:read]
//	  tenant: acme
//	  created: 2026-11-25T12:00:00Z
//	  expires: 2027-05-25T12:00:00Z
//	  owner: team-reports@acme.example
//
// id and sha256 must be there. A [Store] looks at the file twice a second and
// goes by its content alone: a mounted ConfigMap swaps a symbolic link two
// folders up, and a rewrite within a clock tick leaves the time as it was. A
// new content counts when it is still the same at the next look, for half a
// file of a list is a list too: an entry that is cut off before its expires
// would otherwise be a key without an end for half a second. So a change is in
// force after one second. A file that is wrong changes nothing, which is said
// once; the last good one stays in force, however old.
package apikeys

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-authz/holdfast/cache/file"
)

const poll = 500 * time.Millisecond

// Config says which file.
type Config struct {
	File   string
	Logger *slog.Logger // changes of state only; nil discards
}

// Store is the keys in force. Lookup is for the checks: any number of
// goroutines, no lock, no allocation, no waiting.
type Store struct {
	path string
	log  *slog.Logger
	set  atomic.Pointer[Set]

	mu      sync.Mutex // guards what follows
	current string     // the look whose outcome is in force or was said
	next    string     // a look that differs, until it is seen twice
	status  Status
}

// Status is how it goes with the file.
type Status struct {
	File   string `json:"file"`
	Usable bool   `json:"usable"` // a good file has been read
	Keys   int    `json:"keys"`   // in force, expired ones among them

	LastSuccess time.Time `json:"last_success,omitzero"` // when the keys in force were read
	LastError   string    `json:"last_error,omitempty"`  // the last there was; see Failing
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	Failing     bool      `json:"failing"` // the file as it is now is not in force

	OK     uint64 `json:"ok"` // changes taken
	Failed uint64 `json:"failed"`
}

// New checks the configuration; Load and Run read the file.
func New(c Config) (*Store, error) {
	if c.File == "" {
		return nil, errors.New("api keys: no file is named")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store{path: c.File, log: c.Logger, status: Status{File: c.File}}, nil
}

// Lookup finds a key by the SHA-256 of its bytes. ok is false for a key that is
// not in the file, and before the file was read: see Status. Whether a key has
// expired is the caller's to judge.
//
// An ordinary map will do. Its hash and its comparison take a time that
// depends on the digests in it, but nobody can steer the digest of a guess
// towards one of them, byte by byte or at all: a guess with n bits in common
// costs 2^n hashes, and what its timing tells is a digest's bits, which lead
// back to no key that was chosen at random.
func (s *Store) Lookup(sum [sha256.Size]byte) (e *Entry, ok bool) {
	set := s.set.Load()
	if set == nil {
		return nil, false
	}
	e, ok = set.bySum[sum]
	return e, ok
}

// Status describes the file.
func (s *Store) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Load reads the file now and puts it in force where it is good: for a start,
// which wants to know. The error is a *FileError where the content is wrong.
func (s *Store) Load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	look, doc, err := s.look()
	s.next = ""
	return s.take(look, doc, err)
}

// Run follows the file until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		s.follow()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// follow looks at the file and takes what it saw the last time too.
func (s *Store) follow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	look, doc, err := s.look()
	switch look {
	case s.current:
		s.next = ""
	case s.next:
		s.next = ""
		_ = s.take(look, doc, err) // logged, counted and in Status
	default:
		s.next = look
	}
}

// look reads the file. Two looks are the same where content or error are.
func (s *Store) look() (look string, doc []byte, err error) {
	doc, err = file.Read(s.path, maxFile)
	if err != nil {
		return "error " + err.Error(), nil, err
	}
	sum := sha256.Sum256(doc)
	return "content " + string(sum[:]), doc, nil
}

// take puts the outcome of a look in force, counts it, and says it.
func (s *Store) take(look string, doc []byte, err error) error {
	s.current = look
	var set *Set
	if err == nil {
		set, err = s.parse(doc)
	}
	old, now := s.set.Load(), time.Now()
	if err != nil {
		s.status.LastError, s.status.LastErrorAt, s.status.Failing = err.Error(), now, true
		s.status.Failed++
		s.log.Warn("api keys not taken, the last good ones stay in force", "error", err, "have_keys", old != nil)
		return err
	}
	s.set.Store(set)
	s.status.Usable, s.status.Failing = true, false
	s.status.Keys, s.status.LastSuccess = len(set.entries), now
	s.status.OK++
	added, removed := difference(old, set)
	s.log.Info("api keys loaded", "file", s.path, "keys", len(set.entries), "added", few(added), "removed", few(removed))
	return nil
}

// parse is Parse. Whatever a hostile file makes the YAML parser do, it ends as
// a problem of that file.
func (s *Store) parse(doc []byte) (set *Set, err error) {
	defer func() {
		if p := recover(); p != nil {
			set, err = nil, &FileError{s.path, []Problem{{0, 0, fmt.Sprintf("can not be read: %v", p)}}}
		}
	}()
	return Parse(s.path, doc)
}

// difference is the ids that only the new set has, and only the old one: of
// new keys, too, where an id got another.
func difference(old, set *Set) (added, removed []string) {
	if old == nil {
		old = &Set{}
	}
	for i := range set.entries {
		if old.bySum[set.entries[i].Sum] == nil {
			added = append(added, set.entries[i].ID)
		}
	}
	for i := range old.entries {
		if set.bySum[old.entries[i].Sum] == nil {
			removed = append(removed, old.entries[i].ID)
		}
	}
	return added, removed
}

// few are as many ids as a log line holds.
func few(ids []string) []string {
	const most = 20
	if len(ids) <= most {
		return ids
	}
	return append(slices.Clone(ids[:most]), fmt.Sprintf("and %d more", len(ids)-most))
}

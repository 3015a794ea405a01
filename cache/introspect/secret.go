package introspect

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-authz/holdfast/cache/file"
)

const (
	maxSecret   = 4 << 10
	secretEvery = time.Second // a file is read at most once in this time
)

// secret is the client's, from a file that is read beside the questions: only
// when one is asked does it matter what is in it.
type secret struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex
	value string
	read  time.Time // when the file was last read, zero where it has to be read now
	bad   bool      // and there was no secret in it
}

// load reads the file.
func (s *secret) load() error {
	doc, err := file.Read(s.path, maxSecret)
	if err != nil {
		return fmt.Errorf("read client secret: %w", err)
	}
	value := bytes.TrimRight(doc, "\r\n")
	if len(value) == 0 {
		return errors.New("read client secret: " + s.path + " is empty")
	}
	s.value = string(value)
	return nil
}

// current gives the secret. A file that is being replaced leaves the last one
// in force.
func (s *secret) current(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.read) < secretEvery {
		return s.value
	}
	s.read = now
	err := s.load()
	if err != nil && !s.bad {
		s.log.Warn("client secret for introspection not read again, the last one stays in force", "error", err)
	}
	s.bad = err != nil
	return s.value
}

// suspect has the file read for the next question: the issuer refused what was
// in it.
func (s *secret) suspect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = time.Time{}
}

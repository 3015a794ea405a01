package receiver

import (
	"context"
	"sync"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

// What is remembered of tokens that were taken: two halves, of which the older
// is dropped when the younger is full or half a day old.
const (
	seenHalf   = 32_768
	seenAtMost = 12 * time.Hour
)

// seen remembers tokens by (issuer, jti) and holds up one that comes twice at
// the same time until it is known what became of the first. Its zero value is
// ready.
type seen struct {
	mu         sync.Mutex
	young, old map[cache.Key]cache.Key // Request -> Content
	since      time.Time               // when young was begun
	flight     map[cache.Key]chan struct{}
}

// once calls store for a token that was not taken before. repeat is true where
// it was, with this content; with another one it fails with ErrOtherContent.
func (s *seen) once(ctx context.Context, now time.Time, request, content cache.Key, store func() error) (repeat bool, err error) {
	for {
		s.mu.Lock()
		if was, ok := s.get(request); ok {
			s.mu.Unlock()
			if was != content {
				return false, ErrOtherContent
			}
			return true, nil
		}
		first, ok := s.flight[request]
		if !ok {
			break
		}
		s.mu.Unlock()
		select {
		case <-first:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	done := make(chan struct{})
	if s.flight == nil {
		s.flight = make(map[cache.Key]chan struct{})
	}
	s.flight[request] = done
	s.mu.Unlock()

	stored := false
	defer func() { // also where the sink panics
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.flight, request)
		close(done)
		if stored {
			s.put(now, request, content)
		}
	}()
	err = store()
	stored = err == nil
	return false, err
}

func (s *seen) get(request cache.Key) (content cache.Key, ok bool) {
	if content, ok = s.young[request]; !ok {
		content, ok = s.old[request]
	}
	return content, ok
}

func (s *seen) put(now time.Time, request, content cache.Key) {
	if s.young == nil || len(s.young) >= seenHalf || now.Sub(s.since) > seenAtMost {
		s.old, s.young, s.since = s.young, make(map[cache.Key]cache.Key), now
	}
	s.young[request] = content
}

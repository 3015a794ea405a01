package feed

import (
	"context"
	"math/rand/v2"
	"time"
)

// tick appends a record whenever the last own one that was applied is too old
// to prove that the feed is alive.
func (f *Feed) tick(ctx context.Context) {
	pause := firstPause
	for {
		if f.wait(ctx, func() bool { return f.caught && f.broken == nil }) != nil {
			return
		}
		f.mu.Lock()
		proof := f.proof
		f.mu.Unlock()
		if rest := f.period() - time.Since(proof); !proof.IsZero() && rest > 0 {
			if !sleep(ctx, rest) {
				return
			}
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, f.cfg.MaxAge)
		_, _, err := f.append(bounded, typeTick, nil, nil)
		cancel()
		if err == nil {
			pause = firstPause
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if pause == firstPause {
			f.cfg.Logger.Warn("no tick can be appended; the feed will be stale", "error", err)
		}
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, f.cfg.MaxAge/5)
	}
}

// period is the time between two own records: a fifth of MaxAge, varied so
// that replicas do not write in step.
func (f *Feed) period() time.Duration {
	fifth := f.cfg.MaxAge / 5
	return fifth - fifth/10 + rand.N(fifth/5+1)
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestLog holds both logs to what log.go says.
func TestLog(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) Log{
		"memory":   func(*testing.T) Log { return &Memory{} },
		"embedded": func(t *testing.T) Log { return openEmbedded(t, t.TempDir()) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, log := t.Context(), open(t)
			if last, err := log.Last(ctx); last != 0 || err != nil {
				t.Fatal(last, err)
			}
			if _, err := log.Get(ctx, 1); !errors.Is(err, ErrNoRecord) {
				t.Errorf("get from an empty log: %v", err)
			}
			if _, err := log.Append(ctx, 1, []byte("x")); !errors.Is(err, ErrConflict) {
				t.Errorf("append behind what is not there: %v", err)
			}
			for i := range uint64(5) {
				n, err := log.Append(ctx, i, []byte(fmt.Sprint("record ", i+1)))
				if n != i+1 || err != nil {
					t.Fatal(n, err)
				}
				for _, wrong := range []uint64{i, i + 2, 99} {
					if _, err := log.Append(ctx, wrong, []byte("x")); !errors.Is(err, ErrConflict) {
						t.Errorf("append behind %d at %d: %v", wrong, n, err)
					}
				}
			}
			if last, err := log.Last(ctx); last != 5 || err != nil {
				t.Fatal(last, err)
			}
			if b, err := log.Get(ctx, 3); string(b) != "record 3" || err != nil {
				t.Errorf("%q %v", b, err)
			}
			for _, n := range []uint64{0, 6} {
				if b, err := log.Get(ctx, n); err == nil {
					t.Errorf("record %d: %q", n, b)
				}
			}
			readLog(t, log)
			raceLog(t, log)
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := log.Append(ctx, 6, []byte("x")); err == nil {
				t.Error("append to a closed log")
			}
			if err := log.Read(ctx, 0, func(uint64, []byte) error { return nil }); err == nil {
				t.Error("read from a closed log")
			}
		})
	}
}

// readLog reads from the middle on, meets a record that comes later, and ends
// as it is told to.
func readLog(t *testing.T, log Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	enough := errors.New("enough")
	want := uint64(3)
	err := log.Read(ctx, 2, func(n uint64, b []byte) error {
		if n != want || string(b) != fmt.Sprint("record ", n) {
			t.Errorf("record %d: %q, want %d", n, b, want)
		}
		want++
		if n == 5 {
			if _, err := log.Append(ctx, 5, []byte("record 6")); err != nil {
				t.Error(err)
			}
		}
		if n == 6 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || want != 7 {
		t.Errorf("read to %d: %v", want, err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	err = log.Read(ctx, 5, func(uint64, []byte) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// raceLog: of many appends behind one record, one succeeds.
func raceLog(t *testing.T, log Log) {
	t.Helper()
	var w sync.WaitGroup
	won := make(chan int, 16)
	for i := range cap(won) {
		w.Go(func() {
			n, err := log.Append(t.Context(), 6, fmt.Append(nil, "writer ", i))
			switch {
			case err == nil && n == 7:
				won <- i
			case !errors.Is(err, ErrConflict):
				t.Errorf("writer %d: %d, %v", i, n, err)
			}
		})
	}
	w.Wait()
	close(won)
	winner, ok := <-won
	if _, two := <-won; !ok || two {
		t.Error("not exactly one writer won")
	}
	if b, err := log.Get(t.Context(), 7); string(b) != fmt.Sprint("writer ", winner) || err != nil {
		t.Errorf("%q %v", b, err)
	}
}

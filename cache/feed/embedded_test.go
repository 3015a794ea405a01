package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-authz/holdfast/cache"
)

func openEmbedded(t testing.TB, dir string) *Embedded {
	t.Helper()
	e, err := OpenEmbedded(EmbeddedConfig{Directory: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

func openHead(t testing.TB, dir string) *Head {
	t.Helper()
	h, err := OpenHead(filepath.Join(dir, "head"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// run opens what lies in a directory, lets with use it, and closes all of it.
func run(t *testing.T, dir string, with func(e *Embedded, r *replica)) {
	t.Helper()
	e, h := openEmbedded(t, dir), openHead(t, dir)
	r := start(t, Config{Log: e, Head: h})
	with(e, r)
	r.stop()
	if err := errors.Join(e.Close(), h.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestEmbeddedRestart(t *testing.T) {
	dir := t.TempDir()
	var numbers []uint64
	for i := range 4 {
		run(t, dir, func(_ *Embedded, r *replica) {
			r.synced(t)
			for j, n := range numbers {
				if r.sids[fmt.Sprint("s", j)] != n {
					t.Fatalf("start %d: revocation %d is not in record %d: %v", i, j, n, r.sids)
				}
			}
			numbers = append(numbers, r.revoke(t, fmt.Sprint("s", i)))
		})
	}
}

// Two lives of one directory at once would write the same files.
func TestEmbeddedTwice(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, func(*Embedded, *replica) {
		_, err := OpenEmbedded(EmbeddedConfig{Directory: dir})
		if err == nil || !strings.Contains(err.Error(), "in use by another process") || !strings.Contains(err.Error(), dir) {
			t.Errorf("opened twice: %v", err)
		}
	})
	run(t, dir, func(_ *Embedded, r *replica) { r.synced(t) })
}

func TestEmbeddedRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file, filepath.Join(file, "below")} {
		if e, err := OpenEmbedded(EmbeddedConfig{Directory: dir}); err == nil {
			t.Errorf("%q was opened: %v", dir, e.Close())
		}
	}
}

// Nobody, not even we, can delete, purge or replace a record by the broker's API.
func TestStreamKeeps(t *testing.T) {
	run(t, t.TempDir(), func(e *Embedded, r *replica) {
		r.synced(t).revoke(t, "s1")
		ctx, b := t.Context(), e.broker
		if err := b.stream.DeleteMsg(ctx, 3); err == nil {
			t.Error("a record was deleted")
		}
		if err := b.stream.SecureDeleteMsg(ctx, 3); err == nil {
			t.Error("a record was erased")
		}
		if err := b.stream.Purge(ctx); err == nil {
			t.Error("the stream was purged")
		}
		for name, edit := range map[string]func(c *jetstream.StreamConfig){
			"deny_delete": func(c *jetstream.StreamConfig) { c.DenyDelete = false },
			"deny_purge":  func(c *jetstream.StreamConfig) { c.DenyPurge = false },
		} {
			c := streamConfig(streamName, 1)
			edit(&c)
			if _, err := b.js.UpdateStream(ctx, c); err == nil {
				t.Errorf("%s was lifted", name)
			}
		}
	})
}

// A stream that may lose records is not used.
func TestStreamConfiguration(t *testing.T) {
	for want, edit := range map[string]func(c *jetstream.StreamConfig){
		"max_age is 1h0m0s, not 0s":             func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"max_msgs is 1000, not -1":              func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 },
		"max_bytes is 1000000, not -1":          func(c *jetstream.StreamConfig) { c.MaxBytes = 1_000_000 },
		"max_msgs_per_subject is 1, not -1":     func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 },
		"discard is DiscardOld, not DiscardNew": func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"storage is Memory, not File":           func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"retention is Interest, not Limits":     func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		"deny_delete is false, not true":        func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"deny_purge is false, not true":         func(c *jetstream.StreamConfig) { c.DenyPurge = false },
		"allow_rollup_hdrs is true, not false":  func(c *jetstream.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false },
		"allow_msg_ttl is true, not false":      func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true },
		"subjects is other, not holdfast.feed":  func(c *jetstream.StreamConfig) { c.Subjects = []string{"other"} },
		"first_seq is 9, not 1":                 func(c *jetstream.StreamConfig) { c.FirstSeq = 9 },
		"max_msg_size is 10, not -1":            func(c *jetstream.StreamConfig) { c.MaxMsgSize = 10 },
		"no_ack is true, not false":             func(c *jetstream.StreamConfig) { c.NoAck = true },
		"persist_mode is Async, not Default":    func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"subject_transform is true, not false": func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "x.>"}
		},
	} {
		t.Run(want, func(t *testing.T) {
			ctx := t.Context()
			b, err := startServer(EmbeddedConfig{Directory: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer b.stop()
			js, err := jetstream.New(b.conn)
			if err != nil {
				t.Fatal(err)
			}
			c := streamConfig(streamName, 1)
			edit(&c)
			if _, err := js.CreateStream(ctx, c); err != nil {
				t.Fatal(err)
			}
			_, err = openJetStream(ctx, b.link, true)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), string(streamName)) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}

// fourMiB is the largest array that the API takes, and it is one record.
func TestLargestRecord(t *testing.T) {
	events := make([]cache.Event, cache.MaxEvents)
	for i := range events {
		events[i] = revoke(fmt.Sprintf("%0400d", i))
	}
	dir := t.TempDir()
	var number uint64
	run(t, dir, func(_ *Embedded, r *replica) {
		n, _, err := r.synced(t).Append(t.Context(), events...)
		if err != nil {
			t.Fatal(err)
		}
		number = n
		if _, _, err := r.Append(t.Context(), append(events, events[0])...); !errors.Is(err, ErrNotDurable) {
			t.Errorf("one event more: %v", err)
		}
		for i := range events {
			events[i] = revoke(fmt.Sprintf("%01000d", i))
		}
		if _, _, err := r.Append(t.Context(), events...); !errors.Is(err, ErrNotDurable) || !strings.Contains(err.Error(), "fewer") {
			t.Errorf("a record too large: %v", err)
		}
	})
	run(t, dir, func(_ *Embedded, r *replica) {
		_, got, err := r.synced(t).Events(t.Context(), number)
		if err != nil || len(got) != cache.MaxEvents || len(r.sids) != cache.MaxEvents {
			t.Errorf("%d events, %d applied: %v", len(got), len(r.sids), err)
		}
	})
}

// The longest records are stored, read in a row and got back.
func TestManyLongRecords(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	record := make([]byte, MaxRecord)
	const many = 16
	for i := range uint64(many) {
		if _, err := e.Append(t.Context(), i, record); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	enough := errors.New("enough")
	err := e.Read(ctx, 0, func(n uint64, b []byte) error {
		if len(b) != MaxRecord {
			t.Errorf("record %d has %d bytes", n, len(b))
		}
		if n == many {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Error(err)
	}
	if b, err := e.Get(t.Context(), many); err != nil || len(b) != MaxRecord {
		t.Errorf("get: %d bytes, %v", len(b), err)
	}
}

// A connection that is lost comes back, and one that is closed is replaced.
func TestConnectionLost(t *testing.T) {
	for name, cut := range map[string]func(b *broker) error{
		"by the server": func(b *broker) error {
			id, err := b.conn.GetClientID()
			return errors.Join(err, b.server.DisconnectClientByID(id))
		},
		"for good":           func(b *broker) error { b.conn.Close(); return nil },
		"with the server":    func(b *broker) error { b.server.Shutdown(); return nil },
		"with its JetStream": func(b *broker) error { return b.server.ShutdownJetStream() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, t.TempDir(), func(e *Embedded, r *replica) {
				r.synced(t)
				for i := range 3 {
					e.mu.Lock()
					b := e.broker
					e.mu.Unlock()
					if err := cut(b); err != nil {
						t.Fatal(err)
					}
					sid := fmt.Sprint("s", i)
					r.await(t, "appends again", func(Status) bool {
						_, _, err := r.Append(t.Context(), revoke(sid))
						if err != nil && !errors.Is(err, ErrNotDurable) {
							t.Error(err)
						}
						return err == nil
					})
					r.await(t, "reads again", func(Status) bool { return r.has(sid) })
				}
				if r.Status().Breaks != 0 {
					t.Error(r.state())
				}
			})
		})
	}
}

// What a caller's end of patience leaves behind is either there or not.
func TestAppendCancelled(t *testing.T) {
	run(t, t.TempDir(), func(_ *Embedded, r *replica) {
		r.synced(t)
		for i := range 40 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Microsecond)
			sid := fmt.Sprint("s", i)
			_, _, err := r.Append(ctx, revoke(sid))
			cancel()
			if err != nil && !errors.Is(err, ErrNotDurable) {
				t.Errorf("append: %v", err)
			}
			last := r.revoke(t, "after "+sid)
			if err == nil && (!r.has(sid) || r.sids[sid] >= last) {
				t.Errorf("%s was acknowledged and is not there", sid)
			}
		}
		if b := r.Status(); b.Breaks != 0 {
			t.Errorf("%s", r.state())
		}
	})
}

// TestSyncAlways: what is acknowledged was synced before (promise 1). No test
// can cut the power; the broker's own configuration is what it went by.
func TestSyncAlways(t *testing.T) {
	e, err := OpenEmbedded(EmbeddedConfig{Directory: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	if c := e.broker.server.JetStreamConfig(); c == nil || !c.SyncAlways {
		t.Errorf("JetStream runs with %+v", c)
	}
}

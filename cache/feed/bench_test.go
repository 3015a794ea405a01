package feed

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-authz/holdfast/cache"
)

// BenchmarkAppend is one revocation after the other, each durable before the next.
func BenchmarkAppend(b *testing.B) {
	dir := b.TempDir()
	r := start(b, Config{Log: openEmbedded(b, dir), Head: openHead(b, dir)}).synced(b)
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for i := range b.N {
		began := time.Now()
		r.revoke(b, fmt.Sprint("s", i))
		took = append(took, time.Since(began))
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkReplay reads 100 000 records of an embedded log from its start and
// verifies each.
func BenchmarkReplay(b *testing.B) {
	const records = 100_000
	e := openEmbedded(b, b.TempDir())
	js := e.broker.js
	at := position{epoch: Epoch{1}}
	var rec []byte
	for i := range records {
		kind, payload := typeGenesis, []byte(nil)
		if i > 0 {
			kind, payload = typeEvents, cache.EncodeEvents(nil, []cache.Event{revoke(fmt.Sprint("s", i))})
		}
		rec, at = seal(testKey, at, kind, time.Now(), payload)
		if _, err := js.PublishAsync(streamName.subject(), rec, jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(5 * time.Minute):
		b.Fatal("not stored")
	}
	if last, err := e.Last(context.Background()); err != nil || last != records {
		b.Fatal(last, err)
	}
	b.ResetTimer()
	for range b.N {
		r := start(b, Config{Log: e}).synced(b)
		r.stop()
	}
}

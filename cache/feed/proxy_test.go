package feed

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy stands between a replica and its broker. While it is mute, what the
// broker says goes nowhere: requests arrive and answers are lost.
type proxy struct {
	net.Listener
	mute atomic.Bool
	lost atomic.Int64 // bytes that went nowhere
}

func between(t testing.TB, broker net.Addr) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l}
	ctx, cancel := context.WithCancel(context.Background())
	var w sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		w.Wait()
	})
	w.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", broker.String())
			if err != nil {
				_ = near.Close()
				continue
			}
			hangUp := sync.OnceFunc(func() { _, _ = near.Close(), far.Close() })
			stop := context.AfterFunc(ctx, hangUp)
			w.Go(func() { _, _ = io.Copy(far, near); stop(); hangUp() })
			w.Go(func() { _, _ = io.Copy(muted{near, p}, far); stop(); hangUp() })
		}
	})
	return p
}

type muted struct {
	to io.Writer
	by *proxy
}

func (m muted) Write(b []byte) (int, error) {
	if m.by.mute.Load() {
		m.by.lost.Add(int64(len(b)))
		return len(b), nil
	}
	return m.to.Write(b)
}

// A record that the broker sent and that never came is fetched by its number:
// the log is whole, and so that is no break.
func TestRecordOnTheWayLost(t *testing.T) {
	t.Parallel()
	e := listen(t, t.TempDir(), anyPort, nil)
	way := between(t, e.Addr())
	here := start(t, Config{Log: e, MaxAge: time.Minute}).synced(t)
	there := start(t, Config{Log: join(t, ClusterConfig{URLs: []string{urlOf(way.Addr())}}), MaxAge: time.Minute}).synced(t)
	for _, sids := range [][2]string{{"a", "b"}, {"c", "d"}} {
		before := way.lost.Load()
		way.mute.Store(true)
		here.revoke(t, sids[0])
		until(t, "the record on its way", func() bool { return way.lost.Load() > before+minRecord })
		way.mute.Store(false)
		here.revoke(t, sids[1])
		there.await(t, "both records", func(Status) bool { return there.has(sids[0]) && there.has(sids[1]) })
	}
	if s := there.Status(); s.Breaks != 0 || s.Broken != "" {
		t.Errorf("taken for a break: %s", there.state())
	}
}

// The broker takes a claim and its answer is lost: that is an error, and
// nobody else gets what may be taken.
func TestClaimAnswerLost(t *testing.T) {
	t.Parallel()
	e := listen(t, t.TempDir(), anyPort, nil)
	way := between(t, e.Addr())
	c := connects(t, join(t, ClusterConfig{URLs: []string{urlOf(way.Addr())}}))
	cut, well := proofs(t, c, 0), proofs(t, e, 0)
	key := newProof()
	claim(t, cut, newProof())
	way.mute.Store(true)
	if first, err := cut.Claim(t.Context(), key, soon()); first || err == nil {
		t.Errorf("without an answer: %v, %v", first, err)
	}
	if claim(t, well, key) {
		t.Error("the other replica was first: the claim had not reached the broker, or was forgotten")
	}
	way.mute.Store(false)
	until(t, "claims again", func() bool {
		first, err := cut.Claim(t.Context(), key, soon())
		if first {
			t.Fatal("a repetition was first")
		}
		return err == nil
	})
}

// A connection over which nothing comes any more is given up, within the time
// after which a feed is stale, and nothing sent over it counts.
func TestSilentConnection(t *testing.T) {
	t.Parallel()
	e := listen(t, t.TempDir(), anyPort, nil)
	way := between(t, e.Addr())
	c := join(t, ClusterConfig{URLs: []string{urlOf(way.Addr())}})
	local, r := start(t, Config{Log: e}).synced(t), start(t, Config{Log: c}).synced(t)
	l, err := c.link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	way.mute.Store(true)
	began := time.Now()
	if _, _, err := r.Append(t.Context(), revoke("s1")); !errors.Is(err, ErrNotDurable) {
		t.Errorf("appended without an answer: %v", err)
	}
	<-l.life.Done()
	if took := time.Since(began); took > DefaultMaxAge {
		t.Errorf("given up after %v", took)
	}
	local.revoke(t, "s2")
	way.mute.Store(false)
	r.awaitSID(t, "s2")
	r.await(t, "appends again", func(Status) bool {
		_, _, err := r.Append(t.Context(), revoke("s1"))
		return err == nil
	})
	local.awaitSID(t, "s1")
	if local.Status().Breaks+r.Status().Breaks != 0 {
		t.Error(local.state(), r.state())
	}
}

package server_test

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/server"
)

// TestFloods: what a hostile client of the port can send for nothing
// (security.md DS05) costs a bounded amount of memory, and another client is
// served all the while.
func TestFloods(t *testing.T) {
	msg := benched(t)
	const frameContinuation = 9
	block := make([]byte, 16<<10) // literals without indexing, name and value of 1 byte
	for i := 0; i+5 <= len(block); i += 5 {
		copy(block[i:], "\x00\x01x\x01y")
	}
	block = block[:len(block)/5*5]
	for _, tt := range []struct {
		name  string
		begin func(h *h2)
		more  func(h *h2)
		turns int
	}{
		{"rapid reset (CVE-2023-44487)", func(*h2) {}, func(h *h2) { // each stream ends as soon as it has begun
			stream := h.next
			h.check(msg)
			h.frame(frameReset, 0, stream, []byte{0, 0, 0, 8})
		}, 20_000},
		{"CONTINUATION without end (CVE-2023-45288)", func(h *h2) {
			h.frame(frameHeaders, 0, h.next, block)
		}, func(h *h2) { h.frame(frameContinuation, 0, h.next, block) }, 4000}, // 64 MB
		{"settings", func(*h2) {}, func(h *h2) { h.frame(frameSettings, 0, 0, nil) }, 20_000},
		{"pings", func(*h2) {}, func(h *h2) { h.frame(framePing, 0, 0, []byte("12345678")) }, 20_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := server.New(server.Config{Check: lean()})
			if err != nil {
				t.Fatal(err)
			}
			l, err := server.Listen(loopback)
			if err != nil {
				t.Fatal(err)
			}
			serve(t, s, l)
			good, err := extauthztest.Dial(l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer good.Close()
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			drained := make(chan struct{})
			go func() { defer close(drained); _, _ = io.Copy(io.Discard, conn) }()
			defer func() { conn.Close(); <-drained }()
			if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}

			before := heap()
			h := newH2(conn)
			tt.begin(h)
			sent := 0
			for ; sent < tt.turns; sent++ {
				tt.more(h)
				if err := h.flush(); err != nil {
					break // the server has had enough
				}
				if sent%2000 == 0 {
					a, err := good.Check(short(t), extauthztest.Request{})
					if err != nil || a.Verdict != extauthztest.VerdictOK {
						t.Fatalf("the good client after %d turns: %v %v", sent, a, err)
					}
				}
			}
			grown := int64(heap()) - int64(before)
			t.Logf("%d turns, heap +%d KiB, stats %+v", sent, grown>>10, s.Stats())
			if grown > 64<<20 {
				t.Errorf("the heap has grown by %d MiB", grown>>20)
			}
			if a, err := good.Check(short(t), extauthztest.Request{}); err != nil || a.Verdict != extauthztest.VerdictOK {
				t.Errorf("the good client at the end: %v %v", a, err)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

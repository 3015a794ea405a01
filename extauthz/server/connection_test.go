package server_test

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/server"
)

func benched(tb testing.TB) []byte {
	tb.Helper()
	msg, err := proto.Marshal(extauthztest.Request{Path: "/orders/42?page=1"}.Proto())
	if err != nil {
		tb.Fatal(err)
	}
	return msg
}

// dialed is an HTTP/2 connection to a server of its own.
func dialed(t *testing.T, check server.Handler) *h2 {
	t.Helper()
	s, err := server.New(server.Config{Check: check})
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, l)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return newH2(conn)
}

// TestSettings: what the server tells each client in its first frame.
func TestSettings(t *testing.T) {
	h := dialed(t, allowAll)
	if err := h.flush(); err != nil {
		t.Fatal(err)
	}
	var f frame
	if err := h.read(&f); err != nil || f.kind != frameSettings {
		t.Fatalf("first frame %+v, error %v", f, err)
	}
	got := map[uint16]uint32{}
	for p := f.payload; len(p) >= 6; p = p[6:] {
		got[binary.BigEndian.Uint16(p)] = binary.BigEndian.Uint32(p[2:])
	}
	if got[settingMaxStreams] != 1000 || got[settingHeaderList] != 64<<10 {
		t.Errorf("settings %v", got)
	}
}

// TestStreamLimit: streams over the limit are refused (DS06), those within it
// are served (RFC 9113, 5.1.2: REFUSED_STREAM says that nothing was done).
func TestStreamLimit(t *testing.T) {
	h := dialed(t, allowAll)
	for range 1000 {
		h.open() // and no message
	}
	h.check(benched(t))
	if err := h.flush(); err != nil {
		t.Fatal(err)
	}
	f, err := h.until((*frame).ends)
	if err != nil {
		t.Fatal(err)
	}
	if code := binary.BigEndian.Uint32(f.payload); f.kind != frameReset || f.stream != 2001 || code != 7 {
		t.Errorf("stream %d ended by frame %d with %d; want stream 2001 refused", f.stream, f.kind, code)
	}
	// One stream less, and there is room again.
	h.frame(frameReset, 0, 1, []byte{0, 0, 0, 8})
	for {
		h.check(benched(t))
		if err := h.flush(); err != nil {
			t.Fatal(err)
		}
		if f, err = h.until((*frame).ends); err != nil {
			t.Fatal(err)
		}
		if f.kind == frameHeaders {
			return
		}
	}
}

// TestHeaderLimit: an RPC's own headers are bounded, and the connection lives.
func TestHeaderLimit(t *testing.T) {
	h := dialed(t, allowAll)
	h.check(benched(t))
	if err := h.flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.until((*frame).ends); err != nil {
		t.Fatal(err)
	}
	// The largest indexed field (34 bytes as counted and more) over and over:
	// RFC 7541's bomb, 16 KB on the wire and 1.5 MB unpacked.
	bomb := make([]byte, 16<<10)
	for i := range bomb {
		bomb[i] = 0x80 | byte(61+len(fields)-1) // :path
	}
	stream := h.next
	h.next += 2
	h.frame(frameHeaders, flagEndHeaders, stream, bomb)
	if err := h.flush(); err != nil {
		t.Fatal(err)
	}
	f, err := h.until(func(f *frame) bool { return f.kind == frameGoAway || f.ends() })
	if err != nil {
		t.Fatal(err)
	}
	if f.kind == frameHeaders && f.flags&flagEnd == 0 {
		t.Errorf("a bomb of headers was taken: %+v", f)
	}
}

// pipes is a listener of in-memory connections.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// TestKeepalive: pings as Envoy's connection_keepalive sends them, with no
// stream open, are answered for ever; a flood of them ends the connection.
// grpc-go's defaults hang up on the former after the third (envoy.md §0, 9).
func TestKeepalive(t *testing.T) {
	for _, tt := range []struct {
		name     string
		interval time.Duration
		pings    int
		lives    bool
	}{
		{"every 10s, as in our configuration", 10 * time.Second, 200, true},
		{"every 5s", 5 * time.Second, 200, true},
		{"every 5s but early", 4900 * time.Millisecond, 200, true},
		{"every 2s", 2 * time.Second, 200, true},
		{"a flood", 10 * time.Millisecond, 200, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := server.New(server.Config{Check: allowAll})
				if err != nil {
					t.Fatal(err)
				}
				l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
				ended := make(chan error, 1)
				go func() { ended <- s.Serve(l) }()
				ours, theirs := net.Pipe()
				l.conns <- theirs
				h := newH2(ours)
				var acks atomic.Int64
				hungUp, quit := make(chan struct{}), make(chan struct{})
				writes := make(chan []byte)
				send := func(b []byte) {
					select {
					case writes <- b:
					case <-hungUp:
					case <-quit:
					}
				}
				go func() { // a pipe has no buffer: reading and writing may not wait for each other
					for {
						select {
						case b := <-writes:
							if _, err := ours.Write(b); err != nil {
								return
							}
						case <-quit:
							return
						}
					}
				}()
				go func() {
					defer close(hungUp)
					var f frame
					in := &h2{conn: discard{ours}, in: h.in}
					for in.read(&f) == nil && f.kind != frameGoAway {
						switch {
						case f.kind == framePing && f.flags&flagAck != 0:
							acks.Add(1)
						case f.kind == framePing: // the server's own
							pong := &h2{}
							pong.frame(framePing, flagAck, 0, append([]byte(nil), f.payload...))
							send(pong.out)
						}
					}
				}()
				h.frame(frameSettings, flagAck, 0, nil)
				alive := true
				for n := 0; n < tt.pings && alive; n++ {
					h.frame(framePing, 0, 0, []byte("12345678"))
					send(append([]byte(nil), h.out...))
					h.out = h.out[:0]
					select {
					case <-time.After(tt.interval):
					case <-hungUp:
						alive = false
					}
				}
				if alive != tt.lives {
					t.Errorf("after %d answered pings the connection lives: %v, want %v", acks.Load(), alive, tt.lives)
				}
				if tt.lives && acks.Load() != int64(tt.pings) {
					t.Errorf("%d of %d pings were answered", acks.Load(), tt.pings)
				}
				close(quit)
				ours.Close()
				s.Drain(time.Minute)
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// discard reads from a connection; what h2.read wants to answer goes nowhere.
type discard struct{ net.Conn }

func (discard) Write(b []byte) (int, error) { return len(b), nil }

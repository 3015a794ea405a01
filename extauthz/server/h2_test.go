package server_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
)

// HTTP/2 by hand (RFC 9113), for what grpc-go's client hides or does not do:
// settings, pings at any rate, streams over the limit, and a load that costs
// no allocation of its own.
const (
	frameData, frameHeaders, frameReset, frameSettings, framePing, frameGoAway, frameWindow = 0, 1, 3, 4, 6, 7, 8

	flagEnd, flagAck, flagEndHeaders = 1, 1, 4

	settingMaxStreams, settingHeaderList = 3, 6
)

// h2 is one connection to the server.
type h2 struct {
	conn     net.Conn
	in       *bufio.Reader
	out      []byte // frames not yet written
	next     uint32 // stream
	warm     bool   // the server's HPACK table holds our header fields
	body     []byte
	consumed uint32
}

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte // valid until the next read
}

func newH2(conn net.Conn) *h2 {
	h := &h2{conn: conn, in: bufio.NewReaderSize(conn, 64<<10), next: 1}
	h.out = append(h.out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"...)
	h.frame(frameSettings, 0, 0, nil)
	h.window(1 << 30)
	return h
}

func (h *h2) frame(kind, flags byte, stream uint32, payload []byte) {
	n := len(payload)
	h.out = append(h.out, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	h.out = binary.BigEndian.AppendUint32(h.out, stream)
	h.out = append(h.out, payload...)
}

func (h *h2) window(n uint32) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	h.frame(frameWindow, 0, 0, b[:])
}

func (h *h2) flush() error {
	_, err := h.conn.Write(h.out)
	h.out = h.out[:0]
	return err
}

// fields are those that Envoy sends with each check.
var fields = [][2]string{
	{":method", "POST"}, {":path", checkMethod}, {":authority", "holdfast_check"}, {":scheme", "http"},
	{"te", "trailers"}, {"grpc-timeout", "249m"}, {"content-type", "application/grpc"}, {"x-envoy-internal", "true"},
	{"x-forwarded-for", "192.0.2.2"}, {"x-envoy-expected-rq-timeout-ms", "250"},
}

// open begins a stream with a check's header fields: literals the first time,
// then by their place in the dynamic table (RFC 7541, 6.2.1, 6.1).
func (h *h2) open() (stream uint32) {
	stream, h.next = h.next, h.next+2
	h.body = h.body[:0]
	for i, f := range fields {
		if h.warm {
			h.body = append(h.body, 0x80|byte(61+len(fields)-i))
			continue
		}
		h.body = append(h.body, 0x40, byte(len(f[0])))
		h.body = append(h.body, f[0]...)
		h.body = append(h.body, byte(len(f[1])))
		h.body = append(h.body, f[1]...)
	}
	h.warm = true
	h.frame(frameHeaders, flagEndHeaders, stream, h.body)
	return stream
}

// check sends a whole check.
func (h *h2) check(msg []byte) {
	stream := h.open()
	h.body = append(h.body[:0], 0)
	h.body = binary.BigEndian.AppendUint32(h.body, uint32(len(msg)))
	h.body = append(h.body, msg...)
	h.frame(frameData, flagEnd, stream, h.body)
}

// read gives the next frame, and answers the server's settings and pings.
func (h *h2) read(f *frame) error {
	head, err := h.in.Peek(9)
	if err != nil {
		return err
	}
	n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	f.kind, f.flags, f.stream = head[3], head[4], binary.BigEndian.Uint32(head[5:])
	if _, err := h.in.Discard(9); err != nil {
		return err
	}
	if f.payload, err = h.in.Peek(n); err != nil {
		return err
	}
	if _, err = h.in.Discard(n); err != nil {
		return err
	}
	switch {
	case f.kind == frameData:
		if h.consumed += uint32(n); h.consumed > 1<<29 {
			h.window(h.consumed)
			h.consumed = 0
		}
	case f.kind == frameSettings && f.flags&flagAck == 0:
		h.frame(frameSettings, flagAck, 0, nil)
		return h.flush()
	case f.kind == framePing && f.flags&flagAck == 0:
		h.frame(framePing, flagAck, 0, append([]byte(nil), f.payload...))
		return h.flush()
	}
	return nil
}

// until reads up to the first frame for which is holds.
func (h *h2) until(is func(*frame) bool) (*frame, error) {
	var f frame
	for {
		if err := h.read(&f); err != nil {
			return nil, err
		}
		if f.kind == frameGoAway && !is(&f) {
			return nil, io.ErrUnexpectedEOF
		}
		if is(&f) {
			return &f, nil
		}
	}
}

// ends tells whether a frame ends a stream of ours.
func (f *frame) ends() bool {
	return f.kind == frameHeaders && f.flags&flagEnd != 0 || f.kind == frameReset
}

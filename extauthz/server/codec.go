package server

import (
	"fmt"
	"sync"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// codec passes the messages of Check as the bytes they are, and has protobuf
// read and write those of the health service.
type codec struct {
	calls sync.Pool // of *call that are not in use
}

// call is one RPC: the message that came in and the answer that goes out.
type call struct{ in, out mem.Buffer }

func (c *codec) get() *call {
	if m, ok := c.calls.Get().(*call); ok {
		return m
	}
	return new(call)
}

// Name is that of the standard codec: the bytes on the wire are the same.
func (*codec) Name() string { return "proto" }

// Marshal hands gRPC the only reference to an answer. With gRPC's last Free,
// after it has been written to the connection, the buffer goes back to its
// pool; a broken connection may leave it to the garbage collector.
func (c *codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *call:
		out := mem.BufferSlice{m.out} // gRPC keeps the slice too: it can not be part of the call
		m.out = nil
		c.calls.Put(m)
		return out, nil
	case proto.Message:
		data, err := proto.Marshal(m)
		if err != nil {
			return nil, err
		}
		return mem.BufferSlice{mem.SliceBuffer(data)}, nil
	}
	return nil, fmt.Errorf("no codec for %T", v)
}

// Unmarshal keeps a reference to the message until the check is done; it
// copies only where the message has come in several frames.
func (*codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *call:
		m.free() // a second message; gRPC refuses the call when we return
		m.in = data.MaterializeToBuffer(mem.DefaultBufferPool())
		return nil
	case proto.Message:
		return proto.Unmarshal(data.Materialize(), m)
	}
	return fmt.Errorf("no codec for %T", v)
}

// free gives the message back; nobody may look at it any more.
func (c *call) free() {
	if c.in != nil {
		c.in.Free()
		c.in = nil
	}
}

// Sizes of answer buffers. gRPC pools nothing of up to 1 KiB (mem.NewBuffer);
// an answer that has grown past the second limit is rare and not kept.
const (
	newAnswer = 2 << 10
	maxAnswer = 64 << 10
)

// answers is the pool of answer buffers: a mem.BufferPool.
type answers struct{ pool sync.Pool }

// Get gives an empty buffer; length is ignored, answers are appended.
func (a *answers) Get(int) *[]byte {
	if p, ok := a.pool.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, 0, newAnswer)
	return &p
}

// Put takes a buffer back; gRPC calls it with its last Free.
func (a *answers) Put(p *[]byte) {
	if cap(*p) < newAnswer || cap(*p) > maxAnswer {
		return
	}
	*p = (*p)[:0]
	a.pool.Put(p)
}

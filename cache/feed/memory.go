package feed

import (
	"context"
	"fmt"
	"sync"
)

// Memory is a Log in memory: the reference for what a Log does, for tests and
// simulation. Its zero value is an empty log. Edit and Fail let a test do to
// it what disks, brokers and intruders do to a real one.
type Memory struct {
	mu      sync.Mutex
	entries []Entry
	fail    func(op Op, number uint64) error
	changed chan struct{} // closed when something changes; nil until somebody waits
	closed  bool
}

// Entry is one stored record of a Memory. The numbers of an untouched log have
// no gaps.
type Entry struct {
	Number uint64
	Record []byte
}

// Op is a call of a Log, for Fail.
type Op string

// The calls of a Log. OpStored is Append after it has stored the record: its
// error is an answer that was lost.
const (
	OpAppend Op = "append"
	OpStored Op = "stored"
	OpRead   Op = "read"
	OpGet    Op = "get"
	OpLast   Op = "last"
)

// Edit replaces what the log holds by what edit makes of it.
func (m *Memory) Edit(edit func(entries []Entry) []Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = edit(m.entries)
	m.wake()
}

// Entries gives what the log holds; the records may not be changed.
func (m *Memory) Entries() []Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Entry(nil), m.entries...)
}

// Fail makes every call that fail answers with an error fail with it, before
// it does anything (but see OpStored). nil ends that.
func (m *Memory) Fail(fail func(op Op, number uint64) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = fail
	m.wake()
}

func (m *Memory) wake() {
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// ready says whether a call may go on; the caller holds the lock.
func (m *Memory) ready(ctx context.Context, op Op, number uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.closed {
		return ErrClosed
	}
	if m.fail != nil {
		return m.fail(op, number)
	}
	return nil
}

func (m *Memory) last() uint64 {
	if len(m.entries) == 0 {
		return 0
	}
	return m.entries[len(m.entries)-1].Number
}

// Append implements Log.
func (m *Memory) Append(ctx context.Context, after uint64, record []byte) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx, OpAppend, after); err != nil {
		return 0, err
	}
	if after != m.last() {
		return 0, ErrConflict
	}
	m.entries = append(m.entries, Entry{Number: after + 1, Record: append([]byte(nil), record...)})
	m.wake()
	if err := m.ready(ctx, OpStored, after+1); err != nil {
		return 0, err
	}
	return after + 1, nil
}

// Read implements Log.
func (m *Memory) Read(ctx context.Context, after uint64, fn func(number uint64, record []byte) error) error {
	for {
		e, wait, err := m.behind(ctx, after)
		switch {
		case err != nil:
			return err
		case wait != nil:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-wait:
			}
			continue
		case e.Number != after+1:
			return breakAt(after, ErrGap, "the log goes on with record %d", e.Number)
		}
		if err := fn(e.Number, e.Record); err != nil {
			return err
		}
		after = e.Number
	}
}

// behind gives the entry behind number after, or a channel to wait on.
func (m *Memory) behind(ctx context.Context, after uint64) (Entry, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx, OpRead, after+1); err != nil {
		return Entry{}, nil, err
	}
	// Where nothing was edited, the entry stands at this place.
	if i := int(after); i < len(m.entries) && m.entries[i].Number == after+1 {
		return m.entries[i], nil, nil
	}
	for _, e := range m.entries {
		if e.Number > after {
			return e, nil, nil
		}
	}
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return Entry{}, m.changed, nil
}

// Get implements Log.
func (m *Memory) Get(ctx context.Context, number uint64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx, OpGet, number); err != nil {
		return nil, err
	}
	for i := len(m.entries) - 1; i >= 0; i-- {
		if m.entries[i].Number == number {
			return append([]byte(nil), m.entries[i].Record...), nil
		}
	}
	return nil, fmt.Errorf("record %d: %w", number, ErrNoRecord)
}

// Last implements Log.
func (m *Memory) Last(ctx context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx, OpLast, 0); err != nil {
		return 0, err
	}
	return m.last(), nil
}

// Close implements Log.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.wake()
	return nil
}

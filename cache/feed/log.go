package feed

import (
	"context"
	"errors"
)

// Log is an ordered, durable list of byte strings, numbered from 1 without
// gaps: JetStream in production, Memory in tests and simulation. Its methods
// may be called from any goroutine.
type Log interface {
	// Append stores record behind number after and gives it the next one. It
	// returns nil only when the record is durable, ErrConflict when after is
	// not the last number, ErrRefused when the log said no, and any other
	// error when it can not tell.
	Append(ctx context.Context, after uint64, record []byte) (number uint64, err error)

	// Read calls fn with every record behind number after, in order, and
	// follows the log until ctx ends or fn fails. A number that is skipped is
	// a *Break with ErrGap; any other error means that the log can not be
	// reached for the moment. fn may not keep record.
	Read(ctx context.Context, after uint64, fn func(number uint64, record []byte) error) error

	// Get reads one record, ErrNoRecord where there is none.
	Get(ctx context.Context, number uint64) ([]byte, error)

	// Last is the number of the last record, 0 for an empty log.
	Last(ctx context.Context) (uint64, error)

	// Close ends every call and gives back what the log holds.
	Close() error
}

var (
	// ErrConflict: another replica appended first.
	ErrConflict = errors.New("another record was appended first")
	// ErrRefused: the log could not store the record, and said so.
	ErrRefused = errors.New("the log refused the record")
	// ErrNoRecord: the log has no such record, or it holds no events.
	ErrNoRecord = errors.New("no such record")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("log is closed")
	// ErrNotDurable: nothing promises that the record survives.
	ErrNotDurable = errors.New("not durable")
)

package feed

import (
	"errors"
	"fmt"
)

// What can be wrong with a record or with the log. Each comes in a *Break
// that says where.
var (
	ErrGap     = errors.New("records are missing")
	ErrEpoch   = errors.New("record of another feed")
	ErrChain   = errors.New("record does not continue the one before")
	ErrMAC     = errors.New("record was not made with this feed's key, or was altered")
	ErrVersion = errors.New("record of a version that this program does not know")
	ErrType    = errors.New("record of a type that is unknown or out of place")
	ErrForm    = errors.New("record is malformed")
	ErrRolled  = errors.New("log ends before what was already seen")
	ErrHistory = errors.New("log differs from what was already seen")
	ErrHead    = errors.New("head file is damaged")
)

// Break says that the log can not be trusted, from which record on, and why.
type Break struct {
	Number uint64 // the record, or the last one that fits
	Cause  error  // one of the errors above
	Detail string // what was found
}

func (b *Break) Error() string {
	if b.Detail == "" {
		return fmt.Sprintf("feed is broken at record %d: %v", b.Number, b.Cause)
	}
	return fmt.Sprintf("feed is broken at record %d: %v: %s", b.Number, b.Cause, b.Detail)
}

func (b *Break) Unwrap() error { return b.Cause }

func breakAt(number uint64, cause error, format string, args ...any) error {
	return &Break{Number: number, Cause: cause, Detail: fmt.Sprintf(format, args...)}
}

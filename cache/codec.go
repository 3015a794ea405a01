package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// eventsVersion is the first byte of an encoded list of events. A reader that
// meets another one may not skip it.
const eventsVersion = 2

// MaxEvents bounds one record.
const MaxEvents = 10_000

// EncodeEvents writes events for the feed. Times are whole seconds, rounded
// up: towards denial.
func EncodeEvents(dst []byte, events []Event) []byte {
	dst = append(dst, eventsVersion)
	dst = binary.AppendUvarint(dst, uint64(len(events)))
	for i := range events {
		e := &events[i]
		dst = append(dst, byte(e.Op))
		dst = binary.AppendUvarint(dst, uint64(e.Kinds))
		dst = append(dst, e.Key[:]...)
		dst = binary.AppendVarint(dst, seconds(e.Before))
		dst = binary.AppendVarint(dst, seconds(e.Until))
		dst = binary.AppendUvarint(dst, e.Lifts.Number)
		dst = binary.AppendUvarint(dst, uint64(e.Lifts.Place))
		for _, text := range [...]string{e.Issuer, e.Value, e.Reason, e.Actor} {
			dst = binary.AppendUvarint(dst, uint64(len(text)))
			dst = append(dst, text...)
		}
		dst = binary.AppendUvarint(dst, uint64(len(e.Members)))
		for _, m := range e.Members {
			dst = binary.AppendUvarint(dst, uint64(m.Kind))
			dst = binary.AppendUvarint(dst, uint64(len(m.Value)))
			dst = append(dst, m.Value...)
		}
		dst = append(dst, e.Request[:]...)
		dst = append(dst, e.Content[:]...)
	}
	return dst
}

// noTime stands for the zero time.
const noTime = math.MinInt64

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return ceil(t)
}

// DecodeEvents reads what EncodeEvents wrote. It refuses everything else:
// another version, a byte too many, an event that is not valid.
func DecodeEvents(src []byte) ([]Event, error) {
	d := decoder{rest: src}
	if v := d.byte(); v != eventsVersion {
		return nil, fmt.Errorf("events of version %d; this program reads version %d", v, eventsVersion)
	}
	n := d.uvarint()
	if n > MaxEvents || n > uint64(len(src)) {
		return nil, fmt.Errorf("record holds %d events, more than %d", n, MaxEvents)
	}
	events := make([]Event, 0, n)
	for i := range n {
		var e Event
		e.Op = Op(d.byte())
		e.Kinds = d.kinds()
		e.Key = d.key()
		e.Before, e.Until = d.time(), d.time()
		e.Lifts.Number = d.uvarint()
		place := d.uvarint()
		if place > math.MaxUint32 {
			d.fail()
		}
		e.Lifts.Place = uint32(place)
		for _, text := range [...]*string{&e.Issuer, &e.Value, &e.Reason, &e.Actor} {
			*text = d.text()
		}
		members := d.uvarint()
		if members > MaxMembers {
			d.fail()
		}
		for range min(members, MaxMembers) {
			e.Members = append(e.Members, Member{Kind: d.kinds(), Value: d.text()})
		}
		e.Request, e.Content = d.key(), d.key()
		if d.err != nil {
			return nil, d.err
		}
		if err := e.Validate(); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		events = append(events, e)
	}
	if d.err != nil || len(d.rest) != 0 {
		return nil, errEvents
	}
	return events, nil
}

var errEvents = errors.New("events are cut short or followed by other bytes")

// decoder reads fields one by one and remembers the first that failed.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail() { d.err, d.rest = errEvents, nil }

func (d *decoder) take(n uint64) []byte {
	if d.err != nil || n > uint64(len(d.rest)) {
		d.fail()
		return nil
	}
	field := d.rest[:n]
	d.rest = d.rest[n:]
	return field
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) time() time.Time {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail()
		return time.Time{}
	}
	d.rest = d.rest[n:]
	if v == noTime {
		return time.Time{}
	}
	return time.Unix(v, 0).UTC()
}

func (d *decoder) kinds() Kinds {
	v := d.uvarint()
	if v > math.MaxUint16 {
		d.fail()
	}
	return Kinds(v)
}

func (d *decoder) text() string { return string(d.take(d.uvarint())) }

func (d *decoder) key() (k Key) {
	copy(k[:], d.take(uint64(len(k))))
	return k
}

package wire

// Fields that nobody reads are still held to their types: proto.Unmarshal
// refuses a message for a bad string anywhere in it. A shape says which fields
// of a message are strings and which are messages; all others are only
// skipped. Indices, not pointers: a Struct holds Structs.
type shape uint8

// text in a shape's list marks a string. It is no shape of its own.
const text shape = 0

const (
	peer shape = iota + 1
	address
	socketAddress
	pipe
	internalAddress
	timestamp
	stringEntry // map<string, string>
	metadata
	structEntry // map<string, Struct>
	anyEntry    // map<string, Any>
	structure
	valueEntry // map<string, Value>
	value
	listValue
	anyValue
	tlsSession
	shapes
)

// known tells what a field is, by its number.
type known struct {
	num uint32
	is  shape
}

var shapeFields = [shapes][]known{
	peer:            {{1, address}, {2, text}, {3, stringEntry}, {4, text}, {5, text}},
	address:         {{1, socketAddress}, {2, pipe}, {3, internalAddress}},
	socketAddress:   {{2, text}, {4, text}, {5, text}, {7, text}},
	pipe:            {{1, text}},
	internalAddress: {{1, text}, {2, text}},
	timestamp:       {},
	stringEntry:     {{1, text}, {2, text}},
	metadata:        {{1, structEntry}, {2, anyEntry}},
	structEntry:     {{1, text}, {2, structure}},
	anyEntry:        {{1, text}, {2, anyValue}},
	structure:       {{1, valueEntry}},
	valueEntry:      {{1, text}, {2, value}},
	value:           {{3, text}, {5, structure}, {6, listValue}},
	listValue:       {{1, value}},
	anyValue:        {{1, text}},
	tlsSession:      {{1, text}},
}

// validate holds a message to its shape.
func validate(msg []byte, s shape, depth int) error {
	if depth == 0 {
		return ErrDepth
	}
	f := fields{rest: msg}
	for f.next() {
		f.check(s, depth)
	}
	return f.err
}

// check holds the current field of a message of shape s to its type.
func (f *fields) check(s shape, depth int) {
	if f.wire != wireBytes {
		return
	}
	for _, k := range shapeFields[s] {
		if k.num != f.num {
			continue
		}
		if k.is != text {
			f.err = validate(f.value, k.is, depth-1)
		} else if !validUTF8(f.value) {
			f.err = ErrUTF8
		}
		return
	}
}

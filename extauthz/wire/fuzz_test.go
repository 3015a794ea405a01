package wire

import (
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"
)

// FuzzDecodeCheck: whatever the bytes are, DecodeCheck and proto.Unmarshal
// both refuse them or read the same request.
func FuzzDecodeCheck(f *testing.F) {
	var all []byte
	for _, request := range recorded(f) {
		msg := marshal(f, request)
		f.Add(msg)
		f.Add(msg[:len(msg)/2])
		if len(all)+len(msg) < MaxMessage/8 {
			all = append(all, msg...) // one after the other: merged
		}
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, msg []byte) { compare(t, msg) })
}

// TestDecodeCheckModel does the same with messages that are nearly right:
// fields of the real schema, repeated, out of order, of wrong wire types, with
// bad strings and lengths, which bare fuzzing seldom finds.
func TestDecodeCheckModel(t *testing.T) {
	check := (&authv3.CheckRequest{}).ProtoReflect().Descriptor()
	rapid.Check(t, func(t *rapid.T) { compare(t, message(t, check, 0)) })
}

const maxModelDepth = 9

// message draws the bytes of a message of a type, or nearly.
func message(t *rapid.T, m protoreflect.MessageDescriptor, depth int) (out []byte) {
	fields := m.Fields()
	for range rapid.IntRange(0, 4).Draw(t, "fields") {
		if fields.Len() == 0 || rapid.IntRange(0, 19).Draw(t, "unknown") == 0 {
			out = unknown(t, out)
			continue
		}
		f := fields.Get(rapid.IntRange(0, fields.Len()-1).Draw(t, "field"))
		switch f.Kind() {
		case protoreflect.MessageKind:
			if depth >= maxModelDepth {
				continue
			}
			out = lengthDelimited(t, out, f.Number(), message(t, f.Message(), depth+1))
		case protoreflect.StringKind, protoreflect.BytesKind:
			out = lengthDelimited(t, out, f.Number(), []byte(word(t)))
		case protoreflect.DoubleKind:
			out = protowire.AppendFixed64(protowire.AppendTag(out, f.Number(), protowire.Fixed64Type), 1)
		default:
			out = protowire.AppendVarint(protowire.AppendTag(out, f.Number(), protowire.VarintType), rapid.Uint64().Draw(t, "varint"))
		}
	}
	return out
}

func word(t *rapid.T) string {
	return rapid.SampledFrom([]string{
		"", "a", "GET", "x-a", "holdfast_route", "pay", "é", "a,b", "/x?y=%2f",
		"\xff", "a\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\u0000", "12345678901234567890\xfe",
	}).Draw(t, "word")
}

// lengthDelimited writes a field, now and then with another wire type or a
// wrong length.
func lengthDelimited(t *rapid.T, out []byte, num protoreflect.FieldNumber, value []byte) []byte {
	switch rapid.IntRange(0, 39).Draw(t, "kind") {
	case 0:
		return protowire.AppendVarint(protowire.AppendTag(out, num, protowire.VarintType), uint64(len(value)))
	case 1:
		return protowire.AppendFixed32(protowire.AppendTag(out, num, protowire.Fixed32Type), 7)
	case 2:
		out = protowire.AppendTag(out, num, protowire.BytesType)
		return append(protowire.AppendVarint(out, uint64(len(value)+1)), value...)
	case 3: // a length padded with zero groups
		out = protowire.AppendTag(out, num, protowire.BytesType)
		size := protowire.AppendVarint(nil, uint64(len(value)))
		size[len(size)-1] |= 0x80
		return append(append(out, append(size, 0x80, 0x00)...), value...)
	}
	return protowire.AppendBytes(protowire.AppendTag(out, num, protowire.BytesType), value)
}

// unknown writes a field that no message has, among them groups.
func unknown(t *rapid.T, out []byte) []byte {
	num := protowire.Number(rapid.SampledFrom([]int32{15, 99, 1000, 1<<29 - 1}).Draw(t, "number"))
	switch rapid.IntRange(0, 5).Draw(t, "form") {
	case 0:
		inner := protowire.AppendVarint(protowire.AppendTag(nil, 1<<30, protowire.VarintType), 1)
		return protowire.AppendGroup(protowire.AppendTag(out, num, protowire.StartGroupType), num, inner)
	case 1:
		return append(out, rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "junk")...)
	case 2:
		return protowire.AppendTag(out, num, protowire.EndGroupType)
	case 3:
		return protowire.AppendFixed64(protowire.AppendTag(out, num, protowire.Fixed64Type), 1)
	default:
		return protowire.AppendString(protowire.AppendTag(out, num, protowire.BytesType), word(t))
	}
}

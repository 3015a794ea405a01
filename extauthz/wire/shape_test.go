package wire

import (
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestShapes holds shapeFields to the descriptors of go-control-plane: with a
// new version of it a new string field must not go unchecked.
func TestShapes(t *testing.T) {
	attributes := (&authv3.AttributeContext{}).ProtoReflect().Descriptor()
	field := func(m protoreflect.MessageDescriptor, num int) protoreflect.MessageDescriptor {
		return m.Fields().ByNumber(protoreflect.FieldNumber(num)).Message()
	}
	seen := map[shape]bool{}
	var walk func(m protoreflect.MessageDescriptor, s shape)
	walk = func(m protoreflect.MessageDescriptor, s shape) {
		if seen[s] {
			return
		}
		seen[s] = true
		listed := map[protoreflect.FieldNumber]shape{}
		for _, k := range shapeFields[s] {
			listed[protoreflect.FieldNumber(k.num)] = k.is
		}
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			is, ok := listed[f.Number()]
			delete(listed, f.Number())
			switch f.Kind() {
			case protoreflect.StringKind:
				if !ok || is != text {
					t.Errorf("%s is a string", f.FullName())
				}
			case protoreflect.MessageKind:
				if !ok || is == text {
					t.Errorf("%s is a message", f.FullName())
					continue
				}
				walk(f.Message(), is)
			default:
				if ok {
					t.Errorf("%s is neither string nor message", f.FullName())
				}
				if f.IsList() {
					t.Errorf("%s is a list of scalars: packed or not, nobody looks", f.FullName())
				}
			}
		}
		for num := range listed {
			t.Errorf("%s has no field %d", m.FullName(), num)
		}
	}
	walk(field(attributes, attrSource), peer)
	walk(field(attributes, attrDestination), peer)
	walk(field(attributes, attrMetadata), metadata)
	walk(field(attributes, attrRouteMetadata), metadata)
	walk(field(attributes, attrTLSSession), tlsSession)
	walk(field(field(attributes, attrRequest), requestTime), timestamp)
	if len(seen) != int(shapes)-1 {
		t.Errorf("%d shapes are reachable, %d are listed", len(seen), shapes-1)
	}
}

// TestReadMessages: the messages that are read field by field have no fields
// beside those that their reader knows.
func TestReadMessages(t *testing.T) {
	check := (&authv3.CheckRequest{}).ProtoReflect().Descriptor()
	for path, want := range map[string]int{
		"":                                   1,  // CheckRequest
		"attributes":                         7,  // decoder.attributes
		"attributes.request":                 2,  // decoder.request
		"attributes.request.http":            13, // decoder.http; size and raw_body need no check
		"attributes.request.http.header_map": 1,
		"attributes.request.http.header_map.headers": 3,
	} {
		m := check
		for _, name := range splitPath(path) {
			m = m.Fields().ByName(name).Message()
		}
		if n := m.Fields().Len(); n != want {
			t.Errorf("%s has %d fields, its reader knows %d", m.FullName(), n, want)
		}
	}
}

func splitPath(path string) (names []protoreflect.Name) {
	start := 0
	for i := 0; i <= len(path); i++ {
		if i == len(path) || path[i] == '.' {
			if i > start {
				names = append(names, protoreflect.Name(path[start:i]))
			}
			start = i + 1
		}
	}
	return names
}

package wire

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-authz/holdfast/extauthz"
)

// recorded gives the CheckRequests that real proxies (Envoy, Istio, Envoy
// Gateway) have sent, by file name.
func recorded(tb testing.TB) map[string]*authv3.CheckRequest {
	tb.Helper()
	paths, err := filepath.Glob("testdata/checkrequests/*.json")
	if err != nil || len(paths) < 20 {
		tb.Fatalf("found %d recorded requests: %v", len(paths), err)
	}
	requests := map[string]*authv3.CheckRequest{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		var file struct {
			Request json.RawMessage `json:"check_request"`
		}
		if err := json.Unmarshal(text, &file); err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		request := &authv3.CheckRequest{}
		if err := protojson.Unmarshal(file.Request, request); err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		requests[filepath.Base(path)] = request
	}
	return requests
}

func marshal(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	msg, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return msg
}

// fact is a Request in a form that does not depend on the order of the map.
type fact struct {
	extauthz.Request
	Raw []extauthz.Header
	Map map[string]string
}

// reference reads a message the slow way.
func reference(msg []byte) (*fact, error) {
	var m authv3.CheckRequest
	if err := proto.Unmarshal(msg, &m); err != nil {
		return nil, err
	}
	a := m.GetAttributes()
	http := a.GetRequest().GetHttp()
	f := &fact{
		Request: extauthz.Request{
			Method: http.GetMethod(), Path: http.GetPath(), Host: http.GetHost(), Scheme: http.GetScheme(), Protocol: http.GetProtocol(),
			Route: a.GetContextExtensions()["holdfast_route"], Certificate: a.GetSource().GetCertificate(),
			Principal: a.GetSource().GetPrincipal(), Peer: a.GetSource().GetAddress().GetSocketAddress().GetAddress(),
		},
		Map: map[string]string{},
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		value := h.GetValue()
		if len(h.GetRawValue()) > 0 {
			value = string(h.GetRawValue())
		}
		f.Raw = append(f.Raw, extauthz.Header{Name: h.GetKey(), Value: value})
	}
	for name, value := range http.GetHeaders() {
		f.Map[name] = value
	}
	return f, nil
}

// factOf splits the headers of a decoded request into those of header_map,
// raw of them, and those of the map.
func factOf(r *extauthz.Request, raw int) *fact {
	f := &fact{Request: *r, Map: map[string]string{}}
	f.Headers = nil
	f.Raw = append(f.Raw, r.Headers[:raw]...)
	for _, h := range r.Headers[raw:] {
		f.Map[h.Name] = h.Value
	}
	return f
}

// limited: DecodeCheck may be stricter than protobuf here, and nowhere else.
func limited(err error) bool {
	return errors.Is(err, ErrTooLarge) || errors.Is(err, ErrTooManyHeaders) || errors.Is(err, ErrDepth)
}

// compare holds DecodeCheck to proto.Unmarshal on one message.
func compare(tb interface {
	Helper()
	Fatalf(string, ...any)
}, msg []byte) {
	tb.Helper()
	var got extauthz.Request
	err := DecodeCheck(msg, &got)
	if limited(err) {
		return
	}
	want, wantErr := reference(msg)
	if (err == nil) != (wantErr == nil) {
		tb.Fatalf("DecodeCheck says %v, proto.Unmarshal says %v of %x", err, wantErr, msg)
	}
	if err != nil {
		return
	}
	if len(want.Raw) > 0 {
		clear(want.Map) // header_map alone counts where both come
	}
	if len(got.Headers) != len(want.Raw)+len(want.Map) {
		tb.Fatalf("%d headers, want %d + %d", len(got.Headers), len(want.Raw), len(want.Map))
	}
	if diff := cmp.Diff(want, factOf(&got, len(want.Raw))); diff != "" {
		tb.Fatalf("(-proto.Unmarshal +DecodeCheck) of %x:\n%s", msg, diff)
	}
}

func TestDecodeRecorded(t *testing.T) {
	for name, request := range recorded(t) {
		t.Run(name, func(t *testing.T) { compare(t, marshal(t, request)) })
	}
}

// b builds wire bytes: the number of a field, then a string, the bytes of a
// message, or an integer.
func b(parts ...any) (out []byte) {
	for i := 0; i < len(parts); i += 2 {
		num := protowire.Number(parts[i].(int))
		switch v := parts[i+1].(type) {
		case string:
			out = protowire.AppendString(protowire.AppendTag(out, num, protowire.BytesType), v)
		case []byte:
			out = protowire.AppendBytes(protowire.AppendTag(out, num, protowire.BytesType), v)
		case int:
			out = protowire.AppendVarint(protowire.AppendTag(out, num, protowire.VarintType), uint64(v))
		}
	}
	return out
}

func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func inHTTP(parts ...any) []byte { return b(1, b(4, b(2, b(parts...)))) }

// TestDecode: what must come out is written down, and proto.Unmarshal has to
// agree.
func TestDecode(t *testing.T) {
	const huge = "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"
	get := extauthz.Request{Method: "GET"}
	headers := func(pairs ...string) (r extauthz.Request) {
		for i := 0; i < len(pairs); i += 2 {
			r.Headers = append(r.Headers, extauthz.Header{Name: pairs[i], Value: pairs[i+1]})
		}
		return r
	}
	deep := func(levels int) []byte { // a list in a list in a list …
		v := b(3, "x")
		for range levels {
			v = b(6, b(1, v))
		}
		return b(1, b(11, b(1, b(1, "ns", 2, b(1, b(1, "k", 2, v))))))
	}
	groups := func(levels int) []byte {
		return []byte(strings.Repeat("\x7b", levels) + strings.Repeat("\x7c", levels))
	}
	for _, tt := range []struct {
		name string
		msg  []byte
		err  error
		want extauthz.Request
	}{
		{"empty", nil, nil, extauthz.Request{}},
		{"method", inHTTP(2, "GET"), nil, get},
		{"last scalar wins", inHTTP(2, "PUT", 2, "GET"), nil, get},
		{"empty scalar wins over an earlier one", inHTTP(2, "GET", 2, ""), nil, extauthz.Request{}},
		{"repeated message merges", join(inHTTP(4, "/x"), inHTTP(2, "GET")), nil, extauthz.Request{Method: "GET", Path: "/x"}},
		{"repeated attributes merge", join(b(1, b(1, b(4, "spiffe://a"))), b(1, b(1, b(5, "PEM")))), nil, extauthz.Request{Principal: "spiffe://a", Certificate: "PEM"}},
		{"wrong wire type is unknown", inHTTP(2, "GET", 2, 7), nil, get},
		{"message field as varint is unknown", join(b(1, 5), inHTTP(2, "GET")), nil, get},
		{"unknown fields", join(b(99, "x"), inHTTP(2, "GET", 77, 1, 536870911, "y")), nil, get},
		{"fixed32 and fixed64", join([]byte("\x7d\x01\x02\x03\x04\x79\x01\x02\x03\x04\x05\x06\x07\x08"), inHTTP(2, "GET")), nil, get},
		{"empty group", join([]byte("\x7b\x7c"), inHTTP(2, "GET")), nil, get},
		{"group with fields and a group", join([]byte("\x7b\x0a\x01a\x13\x08\x01\x14\x7c"), inHTTP(2, "GET")), nil, get},
		{"group at the depth limit", join(groups(100), inHTTP(2, "GET")), nil, get},
		{"padded varint", join([]byte("\x8a\x80\x00\x80\x80\x00"), inHTTP(2, "GET")), nil, get},
		{"body and query are strings", inHTTP(11, "body", 7, "q", 8, "f", 1, "id", 2, "GET"), nil, get},
		{"scheme, protocol, host", inHTTP(6, "https", 10, "HTTP/2", 5, "h"), nil, extauthz.Request{Scheme: "https", Protocol: "HTTP/2", Host: "h"}},

		{"raw value", inHTTP(13, b(1, b(1, "dpop", 3, "p1"), 1, b(1, "dpop", 3, "p2"))), nil, headers("dpop", "p1", "dpop", "p2")},
		{"raw value need not be UTF-8", inHTTP(13, b(1, b(1, "x", 3, "\xff\x00"))), nil, headers("x", "\xff\x00")},
		{"raw value wins over value", inHTTP(13, b(1, b(1, "x", 3, "raw", 2, "text"))), nil, headers("x", "raw")},
		{"empty raw value does not", inHTTP(13, b(1, b(1, "x", 3, "", 2, "text"))), nil, headers("x", "text")},
		{"last raw value wins, also when empty", inHTTP(13, b(1, b(1, "x", 3, "raw", 3, ""))), nil, headers("x", "")},
		{"header without a name", inHTTP(13, b(1, b(3, "v"))), nil, headers("", "v")},
		{"header_map repeated", inHTTP(13, b(1, b(1, "a", 3, "1")), 13, b(1, b(1, "b", 3, "2"))), nil, headers("a", "1", "b", "2")},
		{"map", inHTTP(3, b(1, "a", 2, "1"), 3, b(1, "b", 2, "2")), nil, headers("a", "1", "b", "2")},
		{"last map entry of a key wins", inHTTP(3, b(1, "a", 2, "1"), 3, b(1, "b", 2, "2"), 3, b(1, "a", 2, "3")), nil, headers("a", "3", "b", "2")},
		{"map entry without a value", inHTTP(3, b(1, "a", 2, "1"), 3, b(1, "a")), nil, headers("a", "")},
		{"map entry, last key wins", inHTTP(3, b(1, "a", 2, "1", 1, "b")), nil, headers("b", "1")},
		{"header_map counts where both come", inHTTP(3, b(1, "m", 2, "1"), 13, b(1, b(1, "r", 3, "2")), 3, b(1, "r", 2, "3"), 13, b(1, b(1, "s", 3, "4"))), nil, headers("r", "2", "s", "4")},

		{"route", b(1, b(10, b(1, "holdfast_route", 2, "pay"))), nil, extauthz.Request{Route: "pay"}},
		{"another extension", b(1, b(10, b(1, "holdfast_routes", 2, "pay"))), nil, extauthz.Request{}},
		{"last route wins", b(1, b(10, b(1, "holdfast_route", 2, "pay"), 10, b(1, "x"), 10, b(1, "holdfast_route", 2, "other"))), nil, extauthz.Request{Route: "other"}},
		{"the last route may be empty", b(1, b(10, b(1, "holdfast_route", 2, "pay"), 10, b(1, "holdfast_route"))), nil, extauthz.Request{}},

		{"peer", b(1, b(1, b(1, b(1, b(2, "192.0.2.2", 3, 443))))), nil, extauthz.Request{Peer: "192.0.2.2"}},
		{"a pipe clears the socket address", b(1, b(1, b(1, b(1, b(2, "192.0.2.2"), 2, b(1, "/s"))))), nil, extauthz.Request{}},
		{"so does an internal address", b(1, b(1, b(1, b(1, b(2, "192.0.2.2"), 3, b())))), nil, extauthz.Request{}},
		{"a pipe of another wire type does not", b(1, b(1, b(1, b(1, b(2, "192.0.2.2"), 2, 1)))), nil, extauthz.Request{Peer: "192.0.2.2"}},
		{"a new socket address starts afresh", b(1, b(1, b(1, b(1, b(2, "192.0.2.2"), 2, b(), 1, b(3, 1))))), nil, extauthz.Request{}},
		{"destination is not the peer", b(1, b(2, b(1, b(1, b(2, "192.0.2.2")), 4, "p", 5, "c"))), nil, extauthz.Request{}},
		{"depth within the limit", deep(50), nil, extauthz.Request{}},

		{"field number 0", []byte("\x02\x00"), ErrWire, extauthz.Request{}},
		{"field number too large", []byte("\x82\x80\x80\x80\x10\x00"), ErrWire, extauthz.Request{}},
		{"truncated tag", []byte("\x8a"), ErrWire, extauthz.Request{}},
		{"truncated length", []byte("\x0a\x80"), ErrWire, extauthz.Request{}},
		{"no length", []byte("\x0a"), ErrWire, extauthz.Request{}},
		{"length past the end", []byte("\x0a\x02x"), ErrWire, extauthz.Request{}},
		{"length of 64 bits", []byte("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"), ErrWire, extauthz.Request{}},
		{"varint of 65 bits", []byte("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), ErrWire, extauthz.Request{}},
		{"varint of 11 bytes", []byte("\x10" + huge[:9] + "\x81\x00"), ErrWire, extauthz.Request{}},
		{"truncated fixed32", []byte("\x7d\x01\x02\x03"), ErrWire, extauthz.Request{}},
		{"truncated fixed64", []byte("\x79\x01"), ErrWire, extauthz.Request{}},
		{"wire type 6", []byte("\x0e"), ErrWire, extauthz.Request{}},
		{"wire type 7", []byte("\x0f"), ErrWire, extauthz.Request{}},
		{"end of no group", []byte("\x7c"), ErrWire, extauthz.Request{}},
		{"group without an end", []byte("\x7b\x08\x01"), ErrWire, extauthz.Request{}},
		{"group ended as another", []byte("\x7b\x74"), ErrWire, extauthz.Request{}},
		{"truncated field in a group", []byte("\x7b\x0a\x05\x7c"), ErrWire, extauthz.Request{}},
		{"length in a message past its own end", []byte("\x0a\x04\x22\x05\x12\x00\x00"), ErrWire, extauthz.Request{}},
		{"error after what was read", join(inHTTP(2, "GET"), []byte("\x0a")), ErrWire, get},

		{"method not UTF-8", inHTTP(2, "\xff"), ErrUTF8, extauthz.Request{}},
		{"surrogate in UTF-8", inHTTP(4, "\xed\xa0\x80"), ErrUTF8, extauthz.Request{}},
		{"overlong UTF-8", inHTTP(4, "/\xc0\xaf"), ErrUTF8, extauthz.Request{}},
		{"value of a field that is not read", inHTTP(11, "\xff"), ErrUTF8, extauthz.Request{}},
		{"name of a header", inHTTP(13, b(1, b(1, "\xff", 3, "v"))), ErrUTF8, extauthz.Request{}},
		{"value of a header beside a raw value", inHTTP(13, b(1, b(1, "x", 3, "v", 2, "\xff"))), ErrUTF8, extauthz.Request{}},
		{"map value", inHTTP(3, b(1, "x", 2, "\xff")), ErrUTF8, extauthz.Request{}},
		{"extension of another name", b(1, b(10, b(1, "x", 2, "\xff"))), ErrUTF8, extauthz.Request{}},
		{"destination's label", b(1, b(2, b(3, b(1, "\xff")))), ErrUTF8, extauthz.Request{}},
		{"sni", b(1, b(12, b(1, "\xff"))), ErrUTF8, extauthz.Request{}},
		{"string in the metadata", b(1, b(13, b(1, b(1, "ns", 2, b(1, b(1, "k", 2, b(3, "\xff"))))))), ErrUTF8, extauthz.Request{}},
		{"type_url in the typed metadata", b(1, b(11, b(2, b(1, "ns", 2, b(1, "\xff"))))), ErrUTF8, extauthz.Request{}},
		{"source's pipe", b(1, b(1, b(1, b(2, b(1, "\xff"))))), ErrUTF8, extauthz.Request{}},
		{"broken metadata", b(1, b(11, b(1, "\x0a"))), ErrWire, extauthz.Request{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got extauthz.Request
			if err := DecodeCheck(tt.msg, &got); !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if tt.err == nil {
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			}
			compare(t, tt.msg)
		})
	}
}

// TestLimits: what protobuf takes and we do not.
func TestLimits(t *testing.T) {
	many := func(n int, field func(i int) []byte) (out []byte) {
		for i := range n {
			out = append(out, field(i)...)
		}
		return b(1, b(4, b(2, out)))
	}
	raw := func(int) []byte { return b(13, b(1, b(1, "x", 3, "v"))) }
	named := func(i int) []byte { return b(3, b(1, "x"+strings.Repeat("y", i), 2, "v")) }
	same := func(int) []byte { return b(3, b(1, "x", 2, "v")) }
	value := b(3, "x")
	for range 200 {
		value = b(6, b(1, value))
	}
	deep := b(1, b(11, b(1, b(1, "ns", 2, b(1, b(1, "k", 2, value))))))
	groups := []byte(strings.Repeat("\x7b", 200) + strings.Repeat("\x7c", 200))
	for _, tt := range []struct {
		name string
		msg  []byte
		want error
	}{
		{"as many raw headers as may be", many(MaxHeaders, raw), nil},
		{"one more", many(MaxHeaders+1, raw), ErrTooManyHeaders},
		{"as many map headers", many(MaxHeaders, named), nil},
		{"one more in the map", many(MaxHeaders+1, named), ErrTooManyHeaders},
		{"one name many times is one header", many(2*MaxHeaders, same), nil},
		{"raw and map together", many(MaxHeaders+2, func(i int) []byte {
			if i%2 == 0 {
				return raw(i)
			}
			return named(i)
		}), ErrTooManyHeaders},
		{"largest message", inHTTP(11, strings.Repeat("x", MaxMessage-20)), nil},
		{"too large", inHTTP(11, strings.Repeat("x", MaxMessage)), ErrTooLarge},
		{"lists too deep", deep, ErrDepth},
		{"groups too deep", groups, ErrDepth},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := DecodeCheck(tt.msg, &extauthz.Request{}); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if err := proto.Unmarshal(tt.msg, &authv3.CheckRequest{}); err != nil {
				t.Errorf("protobuf does not take it: %v", err)
			}
		})
	}
}

// TestDecodeReuses: nothing of the request before is left.
func TestDecodeReuses(t *testing.T) {
	var full, req extauthz.Request
	for _, request := range recorded(t) {
		if err := DecodeCheck(marshal(t, request), &full); err != nil {
			t.Fatal(err)
		}
		if err := DecodeCheck(inHTTP(2, "GET"), &full); err != nil {
			t.Fatal(err)
		}
		if err := DecodeCheck(inHTTP(2, "GET"), &req); err != nil {
			t.Fatal(err)
		}
		full.Headers, req.Headers = full.Headers[:len(full.Headers):len(full.Headers)], nil
		if len(full.Headers) != 0 {
			t.Errorf("headers of the request before: %v", full.Headers)
		}
		full.Headers = nil
		if diff := cmp.Diff(req, full); diff != "" {
			t.Error(diff)
		}
	}
}

func TestDecodeAllocs(t *testing.T) {
	for name, request := range recorded(t) {
		msg := marshal(t, request)
		req := extauthz.Request{Headers: make([]extauthz.Header, 0, 64)}
		if n := testing.AllocsPerRun(100, func() {
			if err := DecodeCheck(msg, &req); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

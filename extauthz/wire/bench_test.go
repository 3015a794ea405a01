package wire

import (
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-authz/holdfast/extauthz"
)

// benched is the request of the recommended edge configuration.
func benched(b *testing.B) []byte {
	b.Helper()
	msg := marshal(b, recorded(b)["70-edge-recommended.json"])
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	return msg
}

func BenchmarkDecodeCheck(b *testing.B) {
	msg := benched(b)
	var req extauthz.Request
	for b.Loop() {
		if err := DecodeCheck(msg, &req); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshalCheck(b *testing.B) {
	msg := benched(b)
	for b.Loop() {
		var req authv3.CheckRequest
		if err := proto.Unmarshal(msg, &req); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = AppendResponse(buf[:0], &allowed)
	}
}

// BenchmarkMarshalResponse also builds the message: a server does that anew
// for every answer.
func BenchmarkMarshalResponse(b *testing.B) {
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		var err error
		if buf, err = (proto.MarshalOptions{}).MarshalAppend(buf[:0], built(&allowed)); err != nil {
			b.Fatal(err)
		}
	}
}

// Package wire reads Envoy's CheckRequest and writes its CheckResponse without
// building a protobuf message.
//
// A check needs a dozen fields of some fifty, and proto.Unmarshal takes more
// time than the decision. DecodeCheck scans the message once; what it takes
// out aliases the message. AppendResponse writes the answer at the end of a
// buffer that the caller owns. Neither allocates, apart from growth.
//
// Reading less must not mean reading otherwise: Envoy and Holdfast would
// disagree about what was asked. DecodeCheck accepts what proto.Unmarshal
// accepts and takes the same values from it: of a repeated scalar the last, of
// a repeated message all, merged; of a map key its last entry; a field with
// another wire type is an unknown field; a string that is not UTF-8 is an
// error wherever it stands. FuzzDecodeCheck holds it to that. It is stricter
// in three points, the limits in check.go.
//
// The field numbers are those of go-control-plane v1.40; a test compares them
// with its descriptors.
package wire

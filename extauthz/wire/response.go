package wire

import (
	"unicode/utf8"
	"unsafe"

	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// Tags (field number and wire type) of envoy.service.auth.v3 CheckResponse and
// what it is made of.
const (
	tagResponseStatus   = 1<<3 | wireBytes
	tagResponseDenied   = 2<<3 | wireBytes
	tagResponseOK       = 3<<3 | wireBytes
	tagResponseMetadata = 4<<3 | wireBytes
	tagResponseError    = 5<<3 | wireBytes

	tagRPCCode  = 1<<3 | wireVarint // google.rpc.Status.code
	tagHTTPCode = 1<<3 | wireVarint // envoy.type.v3.HttpStatus.code

	tagOKHeader = 2<<3 | wireBytes
	tagOKRemove = 5<<3 | wireBytes

	tagDeniedStatus = 1<<3 | wireBytes // DeniedHttpResponse, also that of an error
	tagDeniedHeader = 2<<3 | wireBytes
	tagDeniedBody   = 3<<3 | wireBytes

	tagOptionHeader = 1<<3 | wireBytes // HeaderValueOption
	tagOptionAction = 3<<3 | wireVarint
	tagHeaderKey    = 1<<3 | wireBytes
	tagHeaderValue  = 2<<3 | wireBytes

	tagStructEntry = 1<<3 | wireBytes
	tagEntryKey    = 1<<3 | wireBytes
	tagEntryValue  = 2<<3 | wireBytes
	tagValueString = 3<<3 | wireBytes
	tagValueBool   = 4<<3 | wireVarint
)

// HeaderValueOption.HeaderAppendAction.
const (
	actionAppend    = 0 // APPEND_IF_EXISTS_OR_ADD, the default and so not written
	actionOverwrite = 2 // OVERWRITE_IF_EXISTS_OR_ADD
)

// What a denial or an error says where the response leaves it out.
const (
	codePermissionDenied = 7
	codeUnavailable      = 14
	statusForbidden      = 403
	statusUnavailable    = 503
)

// AppendResponse writes a CheckResponse after dst and returns the longer
// slice. It never writes a denial that Envoy would take for an allow: any
// verdict but Allow and Unable is a denial, status.code 0 goes with Allow
// alone, and bytes that are not UTF-8, for which Envoy would refuse the whole
// answer, are replaced.
func AppendResponse(dst []byte, r *extauthz.Response) []byte {
	tag, code, status := byte(tagResponseDenied), r.Code, r.Status
	switch r.Verdict {
	case reason.Allow:
		tag = tagResponseOK
	case reason.Unable:
		tag = tagResponseError
		code, status = orElse(code, codeUnavailable), orElse(status, statusUnavailable)
	default:
		code, status = orElse(code, codePermissionDenied), orElse(status, statusForbidden)
	}

	dst, at := open(dst, tagResponseStatus)
	if code != 0 {
		dst = append(dst, tagRPCCode)
		dst = appendVarint(dst, uint64(int64(code))) //nolint:gosec // int32 is written as 64 bits, sign-extended
	}
	dst = closed(dst, at)

	dst, at = open(dst, tag)
	if tag == tagResponseOK {
		dst = appendOK(dst, r)
	} else {
		dst = appendDenied(dst, r, status)
	}
	dst = closed(dst, at)

	dst, at = open(dst, tagResponseMetadata)
	dst = appendMetadata(dst, &r.Metadata)
	return closed(dst, at)
}

func orElse[T int | int32](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// appendOK writes an OkHttpResponse. A header replaces what the client sent:
// Envoy 1.40 does so whatever the action says (envoy.md §2), an Envoy that
// heeds it does so too.
func appendOK(dst []byte, r *extauthz.Response) []byte {
	for i := range r.SetHeaders {
		dst = appendHeader(dst, tagOKHeader, &r.SetHeaders[i], actionOverwrite)
	}
	for _, name := range r.RemoveHeaders {
		dst = appendText(dst, tagOKRemove, name)
	}
	return dst
}

// appendDenied writes a DeniedHttpResponse. The first header of a name takes
// the place of Envoy's own (content-type), further ones stand beside it
// (www-authenticate).
func appendDenied(dst []byte, r *extauthz.Response, status int) []byte {
	dst, at := open(dst, tagDeniedStatus)
	dst = append(dst, tagHTTPCode)
	dst = appendVarint(dst, uint64(int64(status))) //nolint:gosec // an enum is written as 64 bits, sign-extended
	dst = closed(dst, at)
	for i := range r.SetHeaders {
		action := byte(actionOverwrite)
		for j := range r.SetHeaders[:i] {
			if r.SetHeaders[j].Name == r.SetHeaders[i].Name {
				action = actionAppend
			}
		}
		dst = appendHeader(dst, tagDeniedHeader, &r.SetHeaders[i], action)
	}
	if r.Body != "" {
		dst = appendText(dst, tagDeniedBody, r.Body)
	}
	return dst
}

func appendHeader(dst []byte, tag byte, h *extauthz.Header, action byte) []byte {
	dst, option := open(dst, tag)
	dst, header := open(dst, tagOptionHeader)
	if h.Name != "" {
		dst = appendText(dst, tagHeaderKey, h.Name)
	}
	if h.Value != "" {
		dst = appendText(dst, tagHeaderValue, h.Value)
	}
	dst = closed(dst, header)
	if action != 0 {
		dst = append(dst, tagOptionAction, action)
	}
	return closed(dst, option)
}

// appendMetadata writes the members of the Struct, every one of them always.
func appendMetadata(dst []byte, m *extauthz.Metadata) []byte {
	decision := m.Decision
	if decision > reason.Unable {
		decision = reason.Deny
	}
	dst = appendMember(dst, "decision", decision.String())
	dst = appendMember(dst, "reason", m.Reason.String())
	dst = appendMember(dst, "decision_id", m.DecisionID)
	dst = appendMember(dst, "class", m.Class)
	dst = appendMember(dst, "route", m.Route)

	dst, entry := open(dst, tagStructEntry)
	dst = appendText(dst, tagEntryKey, "enforced")
	enforced := byte(0)
	if m.Enforced {
		enforced = 1
	}
	dst = append(dst, tagEntryValue, 2, tagValueBool, enforced) // a Value of two bytes
	return closed(dst, entry)
}

func appendMember(dst []byte, key, text string) []byte {
	dst, entry := open(dst, tagStructEntry)
	dst = appendText(dst, tagEntryKey, key)
	dst, value := open(dst, tagEntryValue)
	dst = appendText(dst, tagValueString, text)
	return closed(closed(dst, value), entry)
}

// open begins a message within a message: its tag, and one byte for its
// length, which is enough for most.
func open(dst []byte, tag byte) (_ []byte, at int) {
	dst = append(dst, tag, 0)
	return dst, len(dst)
}

// closed ends the message that began at at and writes its length; where one
// byte does not hold it, the message moves.
func closed(dst []byte, at int) []byte {
	size := uint64(len(dst) - at)
	extra := varintSize(size) - 1
	if extra > 0 {
		for range extra {
			dst = append(dst, 0)
		}
		copy(dst[at+extra:], dst[at:len(dst)-extra])
	}
	putVarint(dst[at-1:at-1:at+extra], size)
	return dst
}

func appendText(dst []byte, tag byte, s string) []byte {
	dst = append(dst, tag)
	if validUTF8(unsafe.Slice(unsafe.StringData(s), len(s))) {
		dst = appendVarint(dst, uint64(len(s)))
		return append(dst, s...)
	}
	size := 0
	for _, c := range s {
		size += utf8.RuneLen(c)
	}
	dst = appendVarint(dst, uint64(size)) //nolint:gosec // not negative
	for _, c := range s {                 // a bad byte is read as U+FFFD
		dst = utf8.AppendRune(dst, c)
	}
	return dst
}

func appendVarint(dst []byte, v uint64) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// putVarint writes into the capacity of dst, which is there.
func putVarint(dst []byte, v uint64) { _ = appendVarint(dst, v) }

func varintSize(v uint64) (n int) {
	for n = 1; v >= 0x80; n++ {
		v >>= 7
	}
	return n
}

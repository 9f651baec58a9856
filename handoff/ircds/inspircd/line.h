/*
 * m_handoff: HANDOFF/1 for InspIRCd, so that a proxy can move live users between two processes.
 *
 *   Copyright (C) 2026 The ircferry authors
 *
 * This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
 * License as published by the Free Software Foundation, version 2.
 *
 * This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied
 * warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU General Public License for more details.
 *
 * You should have received a copy of the GNU General Public License along with this program; the file COPYING beside
 * this one says where it is if not.
 */

// Lines of HANDOFF/1 (HANDOFF.md, section 2): grammar and escapes.

#pragma once

namespace Handoff
{
	const size_t MaxLine = 65536;       // of control, LF counted
	const size_t MaxFirstLine = 2048;   // of a stream, LF counted
	const size_t MaxFields = 1024;
	const size_t MaxRecord = 4u << 20;  // a record with its DATA lines

	/** An ERROR of section 3. code empty: no error. text holds no secret. */
	struct Fault
	{
		std::string code, u, text;
		Fault() { }
		Fault(const std::string& Code, const std::string& Text, const std::string& U = "")
			: code(Code), u(U), text(Text) { }
		operator bool() const { return !code.empty(); }
	};

	struct Field
	{
		std::string key, value;
		bool bare;
		Field(std::string Key, std::string Value, bool Bare = false)
			: key(std::move(Key)), value(std::move(Value)), bare(Bare) { }
	};

	inline bool IsDigit(char c) { return c >= '0' && c <= '9'; }
	inline bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
	inline bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
	inline bool IsKeyChar(char c) { return IsLower(c) || IsDigit(c) || c == '.' || c == '_' || c == '-'; }

	/** A tx, a tok: 32 lower-case hex digits. */
	inline bool IsHex32(const std::string& s)
	{
		if (s.length() != 32)
			return false;
		for (size_t i = 0; i < s.length(); ++i)
			if (!IsDigit(s[i]) && !(s[i] >= 'a' && s[i] <= 'f'))
				return false;
		return true;
	}

	/** A stream id. */
	inline bool IsStreamID(const std::string& s)
	{
		if (s.empty() || s.length() > 32)
			return false;
		for (size_t i = 0; i < s.length(); ++i)
			if (!IsKeyChar(s[i]) && !IsUpper(s[i]))
				return false;
		return true;
	}

	/** Whether it has no NUL, CR or LF. */
	inline bool IsOneLine(std::string_view s)
	{
		for (const char c : s)
			if (c == '\0' || c == '\r' || c == '\n')
				return false;
		return true;
	}

	/** What can be a middle parameter of an IRC line. */
	inline bool IsWord(std::string_view s)
	{
		return !s.empty() && s[0] != ':' && IsOneLine(s) && s.find(' ') == std::string_view::npos;
	}

	/** What can be a fingerprint: hex digits, whatever the hash. */
	inline bool IsFingerprint(const std::string& s)
	{
		return !s.empty() && s.length() <= 128 && s.find_first_not_of("0123456789abcdef") == std::string::npos;
	}

	/** Reads a decimal number. An empty string is 0, as a key that is not there. */
	inline bool ToNumber(const std::string& s, uint64_t& out)
	{
		out = 0;
		if (s.length() > 19)
			return false;
		for (size_t i = 0; i < s.length(); ++i)
		{
			if (!IsDigit(s[i]))
				return false;
			out = out * 10 + (s[i] - '0');
		}
		return true;
	}

	inline void AppendHex(std::string& out, unsigned char byte)
	{
		static const char digits[] = "0123456789abcdef";
		out.push_back(digits[byte >> 4]);
		out.push_back(digits[byte & 15]);
	}

	inline void Escape(std::string& out, const std::string& s)
	{
		for (size_t i = 0; i < s.length(); ++i)
		{
			switch (s[i])
			{
				case ' ': out.append("\\s"); break;
				case '\r': out.append("\\r"); break;
				case '\n': out.append("\\n"); break;
				case '\0': out.append("\\0"); break;
				case '\\': out.append("\\\\"); break;
				default: out.push_back(s[i]);
			}
		}
	}

	inline size_t EscapedLength(const std::string& s)
	{
		size_t n = s.length();
		for (size_t i = 0; i < s.length(); ++i)
			if (s[i] == ' ' || s[i] == '\r' || s[i] == '\n' || s[i] == '\0' || s[i] == '\\')
				n++;
		return n;
	}

	/** False: a backslash before something unknown, or at the end. */
	inline bool Unescape(std::string_view s, std::string& out)
	{
		out.clear();
		out.reserve(s.length());
		for (size_t i = 0; i < s.length(); ++i)
		{
			if (s[i] != '\\')
			{
				out.push_back(s[i]);
				continue;
			}
			if (++i == s.length())
				return false;
			switch (s[i])
			{
				case 's': out.push_back(' '); break;
				case 'r': out.push_back('\r'); break;
				case 'n': out.push_back('\n'); break;
				case '0': out.push_back('\0'); break;
				case '\\': out.push_back('\\'); break;
				default: return false;
			}
		}
		return true;
	}

	/** One line: a verb and keys. Lookups are linear: lines have a few dozen keys. */
	class Line
	{
	 public:
		std::string verb;
		std::vector<Field> fields;

		Line() { }
		Line(const std::string& Verb) : verb(Verb) { }

		const Field* Find(std::string_view key) const
		{
			for (size_t i = 0; i < fields.size(); ++i)
				if (fields[i].key == key)
					return &fields[i];
			return nullptr;
		}

		bool Has(std::string_view key) const { return Find(key) != nullptr; }

		const std::string& Get(std::string_view key) const
		{
			static const std::string none;
			const Field* f = Find(key);
			return f ? f->value : none;
		}

		uint64_t Num(std::string_view key) const
		{
			uint64_t n;
			return ToNumber(Get(key), n) ? n : 0;
		}

		/** Adds a key, also with an empty value. The caller knows that it is not there yet. */
		Line& Add(const std::string& key, const std::string& value)
		{
			fields.push_back(Field(key, value));
			return *this;
		}

		Line& Add(const std::string& key, uint64_t n) { return Add(key, ConvToStr(n)); }

		/** Adds a key unless the value is empty: keys without a value are left out. */
		Line& Set(const std::string& key, const std::string& value)
		{
			if (!value.empty())
				Add(key, value);
			return *this;
		}

		Line& Bare(const std::string& key)
		{
			fields.push_back(Field(key, "", true));
			return *this;
		}

		std::string Format() const
		{
			std::string out(verb);
			for (size_t i = 0; i < fields.size(); ++i)
			{
				out.push_back(' ');
				out.append(fields[i].key);
				if (fields[i].bare)
					continue;
				out.push_back('=');
				Escape(out, fields[i].value);
			}
			out.push_back('\n');
			return out;
		}

		/** Reads a line without its LF; one CR at its end is ignored. */
		Fault Parse(std::string_view raw)
		{
			verb.clear();
			fields.clear();
			if (raw.length() >= MaxLine)
				return Fault("line-too-long", "a line is over the limit");
			if (!raw.empty() && raw[raw.length() - 1] == '\r')
				raw.remove_suffix(1);
			if (!IsOneLine(raw))
				return Fault("bad-line", "raw NUL, CR or LF");

			size_t pos = std::min(raw.find(' '), raw.length());
			verb.assign(raw.substr(0, pos));
			if (!IsVerb(verb))
				return Fault("bad-line", "no verb");
			while (pos < raw.length())
			{
				if (raw[pos] == ' ')
				{
					pos++;
					continue;
				}
				const size_t end = std::min(raw.find(' ', pos), raw.length());
				Fault fault = ParseField(raw.substr(pos, end - pos));
				if (fault)
					return fault;
				pos = end;
			}
			return Fault();
		}

	 private:
		static bool IsVerb(const std::string& s)
		{
			if (s.empty() || s.length() > 32 || !IsUpper(s[0]))
				return false;
			for (size_t i = 0; i < s.length(); ++i)
				if (!IsUpper(s[i]) && !IsDigit(s[i]) && s[i] != '-')
					return false;
			return true;
		}

		Fault ParseField(std::string_view word)
		{
			size_t n = 0;
			while (n < word.length() && IsKeyChar(word[n]))
				n++;
			if (n == 0 || (n < word.length() && word[n] != '='))
				return Fault("bad-line", "not a key");
			if (fields.size() == MaxFields)
				return Fault("bad-line", "too many keys");
			if (Has(word.substr(0, n)))
				return Fault("bad-line", "a key stands twice");
			std::string value;
			if (n == word.length())
				Bare(std::string(word));
			else if (Unescape(word.substr(n + 1), value))
				fields.emplace_back(std::string(word.substr(0, n)), std::move(value));
			else
				return Fault("bad-line", "unknown escape");
			return Fault();
		}
	};

	/** Compares secrets in a time that does not tell where they differ. An empty secret fits nothing. */
	inline bool SameSecret(const std::string& got, const std::string& want)
	{
		unsigned char differ = (got.length() != want.length());
		for (size_t i = 0; i < want.length(); ++i)
			differ |= want[i] ^ (i < got.length() ? got[i] : 0);
		return !want.empty() && differ == 0;
	}
}

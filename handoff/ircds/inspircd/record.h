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

// Records (HANDOFF.md, sections 2 and 8): writing them with DATA lines, joining, validating and counting them.

#pragma once

namespace Handoff
{
	/** CRC-32C (Castagnoli), over bytes as they are on the wire. */
	class Sum
	{
		uint32_t state;

		static const uint32_t* Table()
		{
			static uint32_t table[256];
			if (!table[1])
			{
				for (uint32_t i = 0; i < 256; ++i)
				{
					uint32_t c = i;
					for (int bit = 0; bit < 8; ++bit)
						c = (c & 1) ? (c >> 1) ^ 0x82F63B78u : c >> 1;
					table[i] = c;
				}
			}
			return table;
		}

	 public:
		Sum() : state(0xFFFFFFFFu) { }

		void Update(std::string_view bytes)
		{
			const uint32_t* const table = Table();
			for (size_t i = 0; i < bytes.length(); ++i)
				state = table[(state ^ static_cast<unsigned char>(bytes[i])) & 0xFF] ^ (state >> 8);
		}

		std::string Hex() const
		{
			std::string hex;
			for (int shift = 24; shift >= 0; shift -= 8)
				AppendHex(hex, (state ^ 0xFFFFFFFFu) >> shift);
			return hex;
		}
	};

	/** Counts a run of records and their checksum. */
	struct Tally
	{
		unsigned int records, channels, users, links;
		Sum sum;
		Tally() : records(0), channels(0), users(0), links(0) { }

		void Add(const std::string& verb, std::string_view raw)
		{
			sum.Update(raw);
			if (verb == "DATA")
				return;
			records++;
			channels += (verb == "CHAN");
			users += (verb == "USER");
			links += (verb == "LINK");
		}
	};

	inline bool IsRecord(const std::string& verb)
	{
		return verb == "CHAN" || verb == "LIST" || verb == "USER" || verb == "MEMB" || verb == "DATA"
			|| verb == "LINK" || verb == "BURST" || verb == "REMOTE";
	}

	/** Appends text in DATA lines, never splitting an escape. */
	inline void AppendData(std::string& out, const std::string& head, const std::string& value, Tally& tally)
	{
		std::string escaped;
		Escape(escaped, value);
		const size_t room = MaxLine - head.length() - 1;
		for (size_t pos = 0; pos < escaped.length(); )
		{
			size_t n = std::min(room, escaped.length() - pos);
			size_t slashes = 0; // an odd run of backslashes at the end is half an escape
			while (slashes < n && escaped[pos + n - 1 - slashes] == '\\')
				slashes++;
			if (slashes % 2 && pos + n < escaped.length())
				n--;
			const std::string raw = head + escaped.substr(pos, n) + "\n";
			tally.Add("DATA", raw);
			out.append(raw);
			pos += n;
		}
	}

	/** Appends a record, and what does not fit into its line as DATA lines behind it. */
	inline void AppendRecord(std::string& out, Line record, Tally& tally)
	{
		std::vector<Field> moved;
		size_t size = record.verb.length() + 1;
		for (size_t i = 0; i < record.fields.size(); ++i)
			size += record.fields[i].key.length() + 2 + EscapedLength(record.fields[i].value);
		while (size > MaxLine)
		{
			size_t longest = 0;
			for (size_t i = 1; i < record.fields.size(); ++i) // u, c or n is the first
				if (!longest || record.fields[i].value.length() > record.fields[longest].value.length())
					longest = i;
			size -= record.fields[longest].key.length() + 2 + EscapedLength(record.fields[longest].value);
			moved.push_back(record.fields[longest]);
			record.fields.erase(record.fields.begin() + longest);
		}
		const std::string raw = record.Format();
		tally.Add(record.verb, raw);
		out.append(raw);
		for (size_t i = 0; i < moved.size(); ++i)
		{
			const std::string u = record.Has("u") ? "u=" + record.Get("u") + " " : "";
			AppendData(out, "DATA " + u + "k=" + moved[i].key + " d=", moved[i].value, tally);
		}
	}

	inline Fault BadRecord(const Line& m, const std::string& text)
	{
		return Fault("bad-record", text, IsStreamID(m.Get("u")) ? m.Get("u") : "");
	}

	/** Values that would break the lines in which clients are shown them. x. keys of other software are nobody's here. */
	inline Fault ValidateText(const Line& m)
	{
		static const char* const words[][2] = {
			{ "CHAN", "tby" }, { "LIST", "mask" }, { "LIST", "by" }, { "USER", "nick" }, { "USER", "ident" }, { "USER", "account" },
			{ "USER", "tls" }, { "USER", "x.inspircd.realident" },
		};
		for (size_t i = 0; i < m.fields.size(); ++i)
		{
			const Field& f = m.fields[i];
			if ((f.key.compare(0, 2, "x.") || !f.key.compare(0, OwnKey.length(), OwnKey)) && !IsOneLine(f.value))
				return BadRecord(m, m.verb + " " + f.key + ": not one line");
			bool word = IsModeKey(f.key);
			for (size_t k = 0; k < sizeof(words) / sizeof(words[0]) && !word; ++k)
				word = (m.verb == words[k][0] && f.key == words[k][1]);
			if (word && !f.bare && !f.value.empty() && !IsWord(f.value))
				return BadRecord(m, m.verb + " " + f.key + ": not one word");
		}
		if (!m.Get("certfp").empty() && m.verb == "USER" && !IsFingerprint(m.Get("certfp")))
			return BadRecord(m, "USER certfp: not lower-case hex");
		if (m.Get("rhost").find(' ') != std::string::npos || m.Get("dhost").find(' ') != std::string::npos)
			return BadRecord(m, "USER rhost or dhost: not one word");
		return Fault();
	}

	/** What makes a record useless by itself. */
	inline Fault Validate(const Line& m)
	{
		static const char* const names[][3] = {
			{ "CHAN", "n", "" }, { "LIST", "c", "m" }, { "LIST", "mask", "" }, { "USER", "u", "nick" }, { "MEMB", "u", "c" },
			{ "LINK", "n", "sid" }, { "REMOTE", "l", "id" },
		};
		static const char* const numbers[][2] = {
			{ "CHAN", "ts" }, { "CHAN", "tat" }, { "LIST", "at" }, { "USER", "nts" }, { "USER", "port" }, { "USER", "signon" },
			{ "USER", "idle" }, { "USER", "awayat" }, { "USER", "capver" }, { "MEMB", "at" }, { "LINK", "proto" }, { "LINK", "users" },
		};
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); ++i)
		{
			if (m.verb != names[i][0])
				continue;
			for (int k = 1; k < 3; ++k)
				if (*names[i][k] && m.Get(names[i][k]).empty())
					return BadRecord(m, m.verb + " without " + names[i][k]);
		}
		for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); ++i)
		{
			uint64_t n;
			if (m.verb == numbers[i][0] && (!ToNumber(m.Get(numbers[i][1]), n) || n > INT64_MAX)) // it becomes a time_t
				return BadRecord(m, m.verb + " " + numbers[i][1] + ": not a number");
		}
		if (m.Has("u") && !IsStreamID(m.Get("u")))
			return BadRecord(Line(), m.verb + " u: not a stream id");
		if (m.verb == "BURST")
			return BadRecord(m, "BURST is for the link, not for the destination");
		return ValidateText(m);
	}

	/** Joins records with their DATA lines. */
	class Joiner
	{
		Line pending;
		size_t bytes;

	 public:
		Joiner() : bytes(0) { }

		/** Takes a line of raw bytes. done: the record before this line is whole, and in out. */
		Fault Add(Line&& line, size_t raw, bool& done, Line& out)
		{
			done = false;
			if (line.verb == "DATA")
				return Continue(line, raw);
			done = Flush(out);
			pending = std::move(line);
			bytes = raw;
			return bytes > MaxRecord ? Fault("limit", "a record is over the limit") : Fault();
		}

		bool Flush(Line& out)
		{
			if (pending.verb.empty())
				return false;
			std::swap(out, pending);
			pending = Line();
			return true;
		}

	 private:
		Fault Continue(const Line& data, size_t raw)
		{
			const std::string& key = data.Get("k");
			if (pending.verb.empty())
				return BadRecord(data, "DATA without its record");
			if (data.Has("u") && data.Get("u") != pending.Get("u"))
				return BadRecord(pending, "DATA u: not the record's");
			if (key.empty() || key.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._-") != std::string::npos
				|| key == "u" || key == "c" || key == "n" || !data.Has("d"))
				return BadRecord(pending, "DATA k: not a key that can go on");
			bytes += raw;
			if (bytes > MaxRecord)
				return Fault("limit", "a record is over the limit", pending.Get("u"));
			for (size_t i = 0; i < pending.fields.size(); ++i)
			{
				if (pending.fields[i].key != key)
					continue;
				if (pending.fields[i].bare)
					return BadRecord(pending, "DATA k: a bare key");
				pending.fields[i].value.append(data.Get("d"));
				return Fault();
			}
			if (pending.fields.size() == MaxFields)
				return BadRecord(pending, "too many keys");
			pending.Add(key, data.Get("d"));
			return Fault();
		}
	};
}

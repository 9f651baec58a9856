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

// Mode names: InspIRCd's own and the standard's (HANDOFF.md, section 9).

#pragma once

namespace Handoff
{
	const std::string OwnKey = "x.inspircd.";
	const std::string OwnMode = "x.inspircd.mode.";

	struct ModeName { const char* standard; const char* inspircd; };

	// Names that the standard has. The second is InspIRCd's, where it differs.
	static const ModeName ChannelModeNames[] = {
		{ "allowinvite", nullptr }, { "auditorium", nullptr }, { "blockcolor", nullptr }, { "censor", nullptr }, { "delayjoin", nullptr },
		{ "flood", nullptr }, { "history", nullptr }, { "inviteonly", nullptr }, { "joinflood", nullptr }, { "key", nullptr },
		{ "limit", nullptr }, { "moderated", nullptr }, { "nickflood", nullptr }, { "noctcp", nullptr }, { "noextmsg", nullptr },
		{ "nokick", nullptr }, { "noknock", nullptr }, { "nonick", nullptr }, { "nonotice", nullptr }, { "operonly", nullptr },
		{ "permanent", nullptr }, { "private", nullptr }, { "redirect", nullptr }, { "reginvite", nullptr },
		{ "registered", "c_registered" }, { "regmoderated", nullptr }, { "secret", nullptr }, { "sslonly", nullptr },
		{ "stripcolor", nullptr }, { "topiclock", nullptr },
		{ "autoop", nullptr }, { "ban", nullptr }, { "banexception", nullptr }, { "filter", nullptr }, { "invex", nullptr }, { "quiet", nullptr },
		{ nullptr, nullptr },
	};
	static const ModeName UserModeNames[] = {
		{ "bot", nullptr }, { "callerid", nullptr }, { "cloak", nullptr }, { "commonchans", "deaf_commonchan" }, { "deaf", nullptr },
		{ "helpop", nullptr }, { "hidechans", nullptr }, { "hideoper", nullptr }, { "invisible", nullptr }, { "noctcp", "u_noctcp" },
		{ "noredirect", nullptr }, { "regdeaf", nullptr }, { "registered", "u_registered" }, { "showwhois", nullptr },
		{ "sslqueries", nullptr }, { "stripcolor", "u_stripcolor" }, { "wallops", nullptr },
		{ nullptr, nullptr },
	};

	inline const ModeName* NamesOf(ModeType type) { return type == MODETYPE_USER ? UserModeNames : ChannelModeNames; }

	/** The key of a record for a mode. list: as LIST's m= has it, without the m. */
	inline std::string KeyOfMode(ModeType type, const std::string& name, bool list = false)
	{
		for (const ModeName* n = NamesOf(type); n->standard; ++n)
			if (name == (n->inspircd ? n->inspircd : n->standard))
				return list ? n->standard : std::string("m.") + n->standard;
		return OwnMode + name;
	}

	/** The mode of a record's key, or nullptr. */
	inline ModeHandler* ModeOfKey(ModeType type, const std::string& key, bool list = false)
	{
		if (!key.compare(0, OwnMode.length(), OwnMode))
			return ServerInstance->Modes.FindMode(key.substr(OwnMode.length()), type);
		if (!list && key.compare(0, 2, "m."))
			return nullptr;
		const std::string name = list ? key : key.substr(2);
		for (const ModeName* n = NamesOf(type); n->standard; ++n)
			if (name == n->standard)
				return ServerInstance->Modes.FindMode(n->inspircd ? n->inspircd : n->standard, type);
		return nullptr;
	}

	inline bool IsModeKey(const std::string& key)
	{
		return !key.compare(0, 2, "m.") || !key.compare(0, OwnMode.length(), OwnMode);
	}

	// Status of members.
	struct PrefixName { char letter; const char* inspircd; };
	static const PrefixName PrefixNames[] = {
		{ 'q', "founder" }, { 'a', "admin" }, { 'o', "op" }, { 'h', "halfop" }, { 'v', "voice" }, { 0, nullptr },
	};

	/** The name of an extension item in records: InspIRCd 4 writes some with - that InspIRCd 3 wrote with _. */
	inline std::string RecordName(std::string name)
	{
		std::replace(name.begin(), name.end(), '-', '_');
		return name;
	}

	inline bool IsNamed(const ExtensionItem* item, const std::string& name)
	{
		return item->name.length() == name.length() && std::equal(name.begin(), name.end(), item->name.begin(), [](char a, char b) {
			return a == b || (a == '_' && b == '-');
		});
	}

	/** The extension item of a record's name, or null. */
	inline ExtensionItem* ItemNamed(std::string name)
	{
		if (ExtensionItem* const item = ServerInstance->Extensions.GetItem(name))
			return item;
		std::replace(name.begin(), name.end(), '_', '-');
		return ServerInstance->Extensions.GetItem(name);
	}

	/** The text of one extension item, or nothing. */
	inline std::string ItemText(const Extensible* container, const std::string& name)
	{
		for (const auto& [item, value] : container->GetExtList())
			if (IsNamed(item, name))
				return item->ToInternal(container, value);
		return std::string();
	}

	/** Names of extension items may hold bytes that a key may not: these go as a dot and two hex digits. */
	inline std::string KeyOfExtension(const std::string& name)
	{
		std::string key = OwnKey + "ext.";
		for (const char c : RecordName(name))
		{
			key.push_back(c != '.' && IsKeyChar(c) ? c : '.');
			if (key.back() == '.')
				AppendHex(key, c);
		}
		return key;
	}

	inline bool EndsWith(const std::string& s, const std::string& end)
	{
		return s.length() >= end.length() && !s.compare(s.length() - end.length(), end.length(), end);
	}

	/** Extension items that have no key: what is in keys of its own, belongs to the socket, or is made anew when it is asked for or when a
	 * mode is set. */
	inline bool HasNoKey(const std::string& item)
	{
		static const char* const names[] = {
			"accountname", "banredirect", "blockamsg", "callerid_data", "caps", "cloaks", "dnsbl_mask", "dnsbl_match", "dnsbl_pending",
			"geolocation", "handoff_bans", "handoff_stream", "ident_socket", "ident_state", "invite_chan", "invite_user",
			"monitor", "repeat", "repeat_memb", "ssl_cert", "no_ssl_cert", "cap_hold", "batchbits",
		};
		const std::string name = RecordName(item);
		for (const char* const n : names)
			if (name == n)
				return true;
		return !name.compare(0, 10, "parammode_") || !name.compare(0, 11, "param_mode_") || !name.compare(0, 10, "list_mode_") || EndsWith(name, "_mode_list");
	}

	/** The reverse of KeyOfExtension; empty: the key is none of an extension. */
	inline std::string ExtensionOfKey(const std::string& key)
	{
		static const std::string prefix = OwnKey + "ext.";
		std::string name;
		if (key.compare(0, prefix.length(), prefix))
			return name;
		for (size_t i = prefix.length(); i < key.length(); ++i)
		{
			if (key[i] != '.')
				name.push_back(key[i]);
			else if (i + 2 < key.length())
			{
				name.push_back(static_cast<char>(strtoul(key.substr(i + 1, 2).c_str(), nullptr, 16)));
				i += 2;
			}
		}
		return name;
	}

	/** The extension item that a record's key is for, or nullptr. */
	inline ExtensionItem* ItemOfKey(const std::string& key, ItemType type)
	{
		const std::string name = ExtensionOfKey(key);
		ExtensionItem* const ext = name.empty() || HasNoKey(name) ? nullptr : ItemNamed(name);
		return ext && TypeOf(ext) == type ? ext : nullptr;
	}
}

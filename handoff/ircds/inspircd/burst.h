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


// The virtual burst of a link (HANDOFF.md, section 14): what its peer would have to say for a new process to know what this one knows of
// all that is behind the link. Lines of spanningtree, in the dialect of the peer's protocol.

#pragma once

namespace Handoff
{
	/** A link that a coordinator holds. */
	struct HeldLink
	{
		std::string name, sid;
		uint64_t proto;
	};

	/** Appends the BURST records of one link. */
	class BurstWriter
	{
		static const size_t MaxBurstLine = 480; // services may not read longer ones, and may be told of ours some day

		const HeldLink& link;
		std::string& out;
		Tally& tally;
		const std::string source; // the link's server, in front of a line
		const std::string head;   // of a record

	 public:
		BurstWriter(const HeldLink& Held, std::string& Out, Tally& Tally)
			: link(Held), out(Out), tally(Tally), source(":" + Held.sid + " "), head("BURST l=" + Held.name + " d=") { }

		/** The server itself, and those behind it, whose ids are known. */
		void Servers(const std::vector<ServerFacts>& servers)
		{
			std::map<std::string, std::string> ids;
			ids[link.name] = link.sid;
			for (const ServerFacts& s : servers)
			{
				if (s.link != link.name)
					continue;
				if (s.Direct())
				{
					Say(source + "SINFO desc :" + s.desc);
					continue;
				}
				ids[s.name] = s.server->GetId();
				Say(":" + ids[s.parent] + " SERVER " + s.name + " " + ids[s.name] + (s.hidden ? " hidden=1 :" : " :") + s.desc);
			}
		}

		/** A user who is behind the link, with what is known of him in the network. */
		void OneUser(User* user)
		{
			const std::string of = ":" + user->uuid + " ";
			Say(":" + user->uuid.substr(0, 3) + " UID " + user->uuid + " " + ConvToStr(NickTime(user)) + " " + user->nick + " " + user->GetRealHost() + " "
				+ user->GetDisplayedHost() + " " + IdentsOf(user, link.proto) + " " + AddressOf(user) + " " + ConvToStr(user->signon) + " "
				+ user->GetModeLetters(true) + " :" + user->GetRealName());
			if (!LaterIdent(user, link.proto).empty())
				Say(of + "FIDENT " + LaterIdent(user, link.proto));
			if (user->IsOper())
				Say(OperTags(user, link.proto) + of + "OPERTYPE :" + OperType(user->oper));
			if (user->IsAway())
				Say(of + "AWAY " + ConvToStr(AwayTime(user)) + " :" + AwayText(user));
			if (user->uniqueusername)
				Metadata(user->uuid, "uniqueusername", "1");
			Recorder recorder = Listen(user->uuid);
			Items(user, user->uuid, recorder);
			EachSyncListener([&](ServerProtocol::SyncEventListener* l) { l->OnSyncUser(user, recorder); });
		}

		/** A channel with those members that are behind the link. */
		void OneChannel(Channel* chan, const std::vector<Membership*>& members)
		{
			const std::string name = chan->name + " " + ConvToStr(chan->age);
			const std::string head = source + "FJOIN " + name + " +" + chan->ChanModes(true) + " :";
			std::string line = head;
			for (Membership* const memb : members)
			{
				const std::string item = StatusLetters(memb) + "," + memb->user->uuid + ":" + ConvToStr(memb->id);
				if (line.length() > head.length() && line.length() + item.length() + 1 > MaxBurstLine)
				{
					Say(line);
					line = source + "FJOIN " + name + " + :";
				}
				line.append(line.back() == ':' ? "" : " ").append(item);
			}
			Say(line);
			if (chan->topicset)
				Say(source + "FTOPIC " + (link.proto < 1205 ? chan->name : name) + " " + ConvToStr(chan->topicset) + " " + chan->setby + " :" + chan->topic);
			for (ListModeBase* const mode : ServerInstance->Modes.GetListModes())
				if (const ListModeBase::ModeList* const list = mode->GetList(chan))
					OneList(name, mode->GetModeChar(), *list);
			Recorder recorder = Listen(Target(chan));
			Items(chan, Target(chan), recorder);
			EachSyncListener([&](ServerProtocol::SyncEventListener* l) { l->OnSyncChannel(chan, recorder); });
		}

		/** What is of the network as a whole: bans, and what modules say. */
		void Everywhere()
		{
			EachNetworkBan([&](XLine* x) {
				Say(source + "ADDLINE " + x->type + " " + x->Displayable() + " " + x->source + " " + ConvToStr(x->set_time) + " " + ConvToStr(x->duration) + " :" + x->reason);
			});
			Recorder recorder = Listen("*");
			EachSyncListener([&](ServerProtocol::SyncEventListener* l) { l->OnSyncNetwork(recorder); });
		}

	 private:
		void Say(const std::string& line)
		{
			std::string raw(head); // there are very many: no record is made of them first
			raw.reserve(head.length() + line.length() * 5 / 4 + 16);
			Escape(raw, IsOneLine(line) ? line : OneLine(line));
			raw.push_back('\n');
			if (raw.length() > MaxLine)
				return AppendRecord(out, Line("BURST").Add("l", link.name).Add("d", OneLine(line)), tally);
			tally.Add("BURST", raw);
			out.append(raw);
		}

		static std::string OneLine(std::string line)
		{
			for (char& c : line)
				if (c == '\0' || c == '\r' || c == '\n')
					c = ' '; // from a configuration: nobody could be told it as it is
			return line;
		}

		void Metadata(const std::string& target, const std::string& key, const std::string& value)
		{
			Say(source + "METADATA " + target + " " + key + " :" + value);
		}

		std::string Target(const Channel* chan) const { return link.proto < 1205 ? chan->name : chan->name + " " + ConvToStr(chan->age); }

		/** Takes what modules say of a target. Of memberships they cannot say anything that InspIRCd itself would read. */
		Recorder Listen(const std::string& target)
		{
			return Recorder([this, target](const std::string& key, const std::string& value) { Metadata(target, key, value); },
				[this](const Extensible* ext, const std::string& key, const std::string& value) {
					if (const User* const user = AsUser(ext))
						Metadata(user->uuid, key, value);
					else if (const Channel* const chan = AsChannel(ext))
						Metadata(Target(chan), key, value);
				});
		}

		/** Extension items by their text for the network. */
		void Items(const Extensible* of, const std::string& target, Recorder& recorder)
		{
			for (const auto& [item, value] : of->GetExtList())
			{
				const std::string text = item->ToNetwork(of, value);
				if (text.empty())
					continue;
				Metadata(target, item->name, text);
				SyncItem(item, of, value, recorder);
			}
		}

		void OneList(const std::string& chan, char letter, const ListModeBase::ModeList& list)
		{
			const bool times = HasListLines(link.proto);
			const std::string head = source + (times ? "LMODE " : "FMODE ") + chan + " " + (times ? std::string(1, letter) : "+");
			std::string letters, words;
			for (const ListModeBase::ListItem& e : list)
			{
				const std::string word = " " + e.mask + (times ? " " + e.setter + " " + ConvToStr(e.time) : "");
				if (!words.empty() && (head.length() + letters.length() + words.length() + word.length() + 1 > MaxBurstLine
					|| letters.length() >= ServerInstance->Config->Limits.MaxModes))
				{
					Say(head + (times ? "" : letters) + words);
					letters.clear();
					words.clear();
				}
				letters.push_back(letter);
				words.append(word);
			}
			if (!words.empty())
				Say(head + (times ? "" : letters) + words);
		}
	};
}

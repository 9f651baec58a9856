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

// The source (HANDOFF.md, section 6): reading streams up to the cut, records of users and channels, forgetting them.

#pragma once

namespace Handoff
{
	struct Selection
	{
		std::string u;
		uint64_t in;
	};

	/** An export from EXPORT to RELEASE or RESUME, while the world stands still. */
	class Source
	{
		World& world;
		std::vector<LocalUser*> selected;

	 public:
		Source(World& w) : world(w) { }

		/** How many are selected by the export that is open. */
		size_t Count() const { return selected.size(); }

		/** Reads the selected streams up to their counts, running nothing, and writes what the sockets take. */
		Fault Freeze(const std::vector<Selection>& sel, uint64_t deadline)
		{
			selected.clear();
			std::vector<Selection> behind;
			for (size_t i = 0; i < sel.size(); ++i)
			{
				LocalUser* const user = world.streams.Find(sel[i].u);
				if (!user || user->quitting)
					continue;
				selected.push_back(user);
				behind.push_back(sel[i]);
			}
			for (;;)
			{
				std::vector<Selection> still;
				for (size_t i = 0; i < behind.size(); ++i)
				{
					bool there = false;
					Fault fault = ReadUp(behind[i], there);
					if (fault)
						return fault;
					if (!there)
						still.push_back(behind[i]);
				}
				if (still.empty())
					break;
				if (Now() >= deadline)
					return Fault("behind", "input is missing", still[0].u);
				behind.swap(still);
				struct timespec ts = { 0, 200000 };
				nanosleep(&ts, nullptr);
			}
			for (size_t i = 0; i < selected.size(); ++i)
			{
				if (Unwritten(selected[i]->eh) && ErrorOf(selected[i]->eh).empty())
					selected[i]->eh.DoWrite();
				world.streams.Get(selected[i])->Sync(selected[i]);
			}
			return Fault();
		}

		/** Appends the records of those selected who are registered. peek: of these users, without the cut and without links. written: called
		 * behind each. */
		void Export(std::string& out, Tally& tally, const LinkDump& links, const std::vector<Selection>* peek, const std::function<void()>& written)
		{
			std::vector<LocalUser*> users;
			if (peek)
			{
				for (size_t i = 0; i < peek->size(); ++i)
				{
					LocalUser* const user = world.streams.Find((*peek)[i].u);
					if (user && IsRegistered(user) && !user->quitting)
						users.push_back(user);
				}
			}
			else
			{
				for (size_t i = 0; i < selected.size(); ++i)
					if (IsRegistered(selected[i]))
						users.push_back(selected[i]);
			}
			std::set<User*> exported(users.begin(), users.end());
			std::set<Channel*> seen;
			std::vector<Channel*> channels;
			for (size_t i = 0; i < users.size(); ++i)
				for (User::ChanList::iterator c = users[i]->chans.begin(); c != users[i]->chans.end(); ++c)
					if (seen.insert((*c)->chan).second)
						channels.push_back((*c)->chan);

			const size_t ours = channels.size();
			if (!peek)
				for (const auto& entry : AllChannels())
					if (links.Has(entry.second) && seen.insert(entry.second).second)
						channels.push_back(entry.second);

			const RecordWriter writer(world);
			Others others(links.Servers(), exported);
			for (size_t i = 0; i < channels.size(); ++i)
			{
				writer.ChannelRecords(channels[i], peek || i >= ours ? "" : others.Of(channels[i]), out, tally);
				written();
			}
			for (LocalUser* const user : users)
			{
				AppendRecord(out, writer.UserRecord(user, peek != nullptr), tally);
				written();
			}
			for (Channel* const chan : channels)
			{
				for (const auto& [user, memb] : chan->GetUsers())
					if (exported.count(user))
						AppendRecord(out, writer.MemberRecord(memb, links.Any()), tally);
				written();
			}
			if (!peek)
				links.Records(exported, out, tally, written);
		}

		/** Who of the coordinator's users stays on a channel of those who go. */
		unsigned int Remain(const std::string& coordinator) const
		{
			const std::set<User*> go(selected.begin(), selected.end());
			std::set<Channel*> left;
			for (LocalUser* const user : selected)
				for (User::ChanList::iterator c = user->chans.begin(); c != user->chans.end(); ++c)
					left.insert((*c)->chan);
			unsigned int n = 0;
			for (LocalUser* const user : ServerInstance->Users.GetLocalUsers())
			{
				if (!IsRegistered(user) || user->quitting || go.count(user) || !world.streams.Movable(user, coordinator))
					continue;
				for (User::ChanList::iterator c = user->chans.begin(); c != user->chans.end(); ++c)
				{
					if (!left.count((*c)->chan))
						continue;
					n++;
					break;
				}
			}
			return n;
		}

		/** Runs what was read and not run. */
		void Resume()
		{
			std::vector<LocalUser*> users;
			users.swap(selected);
			for (size_t i = 0; i < users.size(); ++i)
			{
				LocalUser* const user = users[i];
				if (user->quitting)
					continue;
				if (!ErrorOf(user->eh).empty())
				{
					ServerInstance->Users.QuitUser(user, ErrorOf(user->eh));
					continue;
				}
				SocketEngine::ChangeEventMask(&user->eh, FD_ADD_TRIAL_READ); // an end of file may have been seen by nobody
				Run(user);
			}
		}

		/** Forgets the selected users. Without a quit message nobody is told. */
		void Release(const std::string& quit)
		{
			std::vector<LocalUser*> users;
			users.swap(selected);
			for (size_t i = 0; i < users.size(); ++i)
			{
				world.streams.Get(users[i])->leaving = true; // a quit of one is not written to another
				users[i]->eh.GetSendQ().clear();
			}
			if (!quit.empty())
			{
				for (size_t i = 0; i < users.size(); ++i)
					ServerInstance->Users.QuitUser(users[i], quit);
				return;
			}
			Silence silence(world);
			Module* const whowas = ServerInstance->Modules.Find("core_whowas.so"); // they have not left
			const bool kept = whowas && ServerInstance->Modules.Detach(I_OnUserQuit, whowas);
			for (size_t i = 0; i < users.size(); ++i)
			{
				Leave(users[i]);
				ServerInstance->Users.QuitUser(users[i], "Moved");
			}
			if (kept)
				ServerInstance->Modules.Attach(I_OnUserQuit, whowas);
		}

	 private:
		/** Reads a stream as far as its count goes. */
		Fault ReadUp(const Selection& want, bool& there)
		{
			LocalUser* const user = world.streams.Find(want.u);
			Stream* const stream = world.streams.Get(user);
			stream->Sync(user);
			if (stream->in > want.in)
				return Fault("count", "more came than was told", want.u);
			static char buffer[65536];
			while (stream->in < want.in)
			{
				const size_t room = std::min<uint64_t>(sizeof(buffer), want.in - stream->in);
				const ssize_t n = recv(user->eh.GetFd(), buffer, room, MSG_DONTWAIT);
				if (n < 0 && errno == EINTR)
					continue;
				if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
					return Fault();
				if (n <= 0)
					return Fault("behind", "the stream ended", want.u);
				RecvQ::Of(user->eh).append(buffer, n);
				stream->Sync(user);
			}
			there = true;
			return Fault();
		}

		/** Runs a user's input in the pieces in which the socket engine would have brought it: its limits are meant for these. */
		void Run(LocalUser* user)
		{
			std::string& recvq = RecvQ::Of(user->eh);
			std::string rest;
			rest.swap(recvq);
			for (size_t pos = 0; pos < rest.length() && !user->quitting; )
			{
				const size_t n = std::min<size_t>(ServerInstance->Config->NetBufferSize, rest.length() - pos);
				recvq.append(rest, pos, n);
				pos += n;
				user->eh.OnDataReady();
			}
		}

		/** Takes a user off its channels, which tells nobody and spares the search for whom to tell. */
		void Leave(LocalUser* user)
		{
			while (user->chans.begin() != user->chans.end())
			{
				Membership* const memb = *user->chans.begin();
				Channel* const chan = memb->chan;
				user->chans.erase(memb);
				chan->DelUser(user);
			}
		}
	};
}
